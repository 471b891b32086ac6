"""Benchmarks run; what they measure is nobody's to assert."""

from tests.conftest import NARROW, ROOT
from tests.test_train import command


def test_an_evaluation_is_measured_part_by_part():
    done = command("metrics", "metrics.n_fakes=200", *NARROW["dcgan"], "--turns", "1", script="scripts/benchmark.py")
    assert done.returncode == 0, done.stderr
    for part in ("sampling", "features", "FID", "KID", "Inception Score", "whole"):
        assert f"│ {part} " in done.stdout


def test_help_says_what_each_benchmark_measures():
    done = command("--help", script="scripts/benchmark.py")
    for path in (ROOT / "scripts" / "benchmarks").glob("*.py"):
        assert f"python scripts/benchmark.py {path.stem} " in done.stdout
