"""Benchmarks run; what they measure is nobody's to assert."""

import re

import pytest

from scripts.benchmarks import threads
from tests.helpers import NARROW, ROOT, run_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_an_evaluation_is_measured_part_by_part():
    done = run_command(
        "metrics", "metrics.n_fakes=200", *NARROW["dcgan"], "--turns", "1", script="scripts/benchmark.py"
    )
    assert done.returncode == 0, done.stderr
    for part in ("sampling", "features", "FID", "KID", "Inception Score", "whole"):
        assert f"│ {part} " in done.stdout


def test_searches_are_run_with_pruning_and_without_and_their_best_settings_again(tmp_path):
    small = ["model.generator.width=4", "model.discriminator.width=4", "trainer.max_steps=2"]
    small += ["trainer.val_check_interval=1", "hydra.sweeper.n_trials=2"]
    done = run_command("pruning", *small, "--turns", "1", script="scripts/benchmark.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "images with pruning: 100% of those without" in done.stdout  # of two trials none is pruned
    assert len(list(tmp_path.glob("multirun/pruning/*-0/again/*/metrics.json"))) == 2 * 5


def test_training_is_timed_idle_and_beside_other_work(monkeypatch, capsys):
    """One choice only: each is a run of train.py, idle, busy, and busy from a step on."""
    monkeypatch.setattr(threads, "CHOICES", {"one thread": {"OMP_NUM_THREADS": "1"}})
    monkeypatch.setattr(threads, "BEGIN", 2)
    monkeypatch.setattr(threads, "END", 4)
    monkeypatch.setattr(threads, "LOADS", {"idle": None, "busy": 0, "busy later": 2})
    threads.measure(NARROW["dcgan"], 1)
    assert re.search(r"│ one thread +│" + r" +[1-9][\d,]* +│" * 3, capsys.readouterr().out)


def test_help_says_what_each_benchmark_measures():
    done = run_command("--help", script="scripts/benchmark.py")
    for path in (ROOT / "scripts" / "benchmarks").glob("*.py"):
        assert f"python scripts/benchmark.py {path.stem} " in done.stdout
