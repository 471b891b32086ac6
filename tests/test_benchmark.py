"""Benchmarks run; what they measure is nobody's to assert."""

import importlib
import json
import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gan.callbacks.cost import FlopCounter
from gan.run.build import build_data, build_gan
from scripts.benchmarks import confirmation, cost, coverage, pruning, threads, train
from tests.helpers import NARROW, ROOT, run_command
from train import train as run_train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_an_evaluation_is_measured_part_by_part():
    done = run_command(
        "metrics", "metrics.n_fakes=200", *NARROW["dcgan"], "--turns", "1", script="scripts/benchmark.py"
    )
    assert done.returncode == 0, done.stderr
    for part in ("sampling", "features", "FID", "KID", "Inception Score", "whole"):
        assert f"│ {part} " in done.stdout


def test_searches_are_run_with_pruning_and_without_and_their_best_settings_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pruning, "SEEDS", "1,2")
    small = ["model.generator.width=4", "model.discriminator.width=4", "trainer.max_steps=2"]
    small += ["trainer.val_check_interval=1", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    pruning.measure([*small, "hydra/launcher=basic"], 1)
    assert "images with pruning: 100% of those without" in capsys.readouterr().out  # of two trials none is pruned
    assert len(list(tmp_path.glob("multirun/pruning/*-0/again/*/metrics.json"))) == 2 * 2


def test_simulated_searches_find_the_best_setting_by_its_known_mean():
    """Without noise each kind finds it; with noise the one on fresh seeds more often than the one on a single seed."""
    sure = [[[9.0, float(mean)]] * 2 for mean in (3, 1, 2, 4, 5, 6)]
    table = confirmation.compare_searches(sure, random.Random(0), 20)
    assert [*table.columns[1].cells] == ["100%"] * len(confirmation.SEARCHES)
    assert [float(cell) for cell in table.columns[3].cells][:1] == [6.0]
    noisy = [[[9.0, mean + noise] for noise in (-1.5, -0.5, 0.5, 1.5)] for mean in (3.0, 1.0, 2.0, 4.0, 5.0, 6.0)]
    table = confirmation.compare_searches(noisy, random.Random(0), 300)
    shares = dict(zip(confirmation.SEARCHES, (int(cell[:-1]) for cell in table.columns[1].cells), strict=True))
    assert shares["one seed, best 3 confirmed by 5 seeds"] > shares["one seed, unpruned"] + 10


def test_settings_are_trained_with_their_seeds_and_searches_on_them_simulated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(confirmation, "N_SETTINGS", 2)
    monkeypatch.setattr(confirmation, "N_SEEDS", 2)
    monkeypatch.setattr(confirmation, "STUDIES", 3)
    words = ["model.generator.width=4", "model.discriminator.width=4", "trainer.max_steps=2"]
    confirmation.measure([*words, "trainer.val_check_interval=1"], 1)
    assert "3 studies of 2 settings" in " ".join(capsys.readouterr().out.split())


def test_training_is_timed_idle_and_beside_other_work(monkeypatch, capsys):
    """One choice only: each is a run of train.py, idle, busy, and busy from a step on."""
    monkeypatch.setattr(threads, "CHOICES", {"one thread": {"OMP_NUM_THREADS": "1"}})
    monkeypatch.setattr(threads, "BEGIN", 2)
    monkeypatch.setattr(threads, "END", 4)
    monkeypatch.setattr(threads, "LOADS", {"idle": None, "busy": 0, "busy later": 2})
    threads.measure(NARROW["dcgan"], 1)
    assert re.search(r"│ one thread +│" + r" +[1-9][\d,]* +│" * 3, capsys.readouterr().out)


def test_train_is_compared_with_a_bare_loop_and_another_checkout(monkeypatch, capsys, tmp_path):
    words = ["model=mlp", "model.generator.hidden=[16]", "model.discriminator.hidden=[16]"]
    monkeypatch.setattr(train, "CASES", {"mlp": (words, 12), "mlp, r1": ([*words, "penalty=r1"], 12)})
    monkeypatch.setattr(train, "cpu_has_bfloat16", lambda: False)
    train.measure([], 1, before=str(ROOT), to_json=str(tmp_path / "rates.json"))
    assert re.search(r"│ mlp, 32-true +│ +\d+\.\d+ ", capsys.readouterr().out)
    rates = json.loads((tmp_path / "rates.json").read_text())["images_per_second"]
    assert rates["mlp, 32-true"].keys() == {"train.py", "bare loop", "before", "DataLoader"}
    assert rates["mlp, r1, 32-true"].keys() == {"train.py", "bare loop", "before"}
    assert all(rate > 0 for of_case in rates.values() for side in of_case.values() for rate in side)


def test_the_bare_loop_has_the_arithmetic_of_a_run(configure, monkeypatch):
    """Its operations are as many as those of a step of train.py."""
    monkeypatch.syspath_prepend(str(train.TIMED))
    bare_loop = importlib.import_module("bare_loop")
    for words in (["model=mlp"], ["penalty=r1", *NARROW["dcgan"]], ["penalty=gradient_penalty", *NARROW["dcgan"]]):
        cfg = configure(*words, "trainer.max_steps=1", "metrics=none")
        shutil.rmtree(cfg.run_dir, ignore_errors=True)
        run_train(cfg)
        scores = json.loads(Path(cfg.run_dir, "metrics.json").read_text(encoding="utf-8"))["scores"]
        data = build_data(cfg)
        gan = build_gan(cfg, data.shape)
        batches = bare_loop.feed(data.splits["train"].images, data.splits["train"].labels, "cpu", dataloader=False)
        players = gan.generator, gan.discriminator, gan.ema.module
        with FlopCounter() as counter:
            bare_loop.train(1 + bare_loop.WARM_UP, next(iter(cfg.penalty), "none"), False, batches, *players)
        assert counter.total == scores["flops_per_step"] * (1 + bare_loop.WARM_UP)


def test_the_cost_of_a_run_is_timed_and_drawn(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "AXES", {"steps": [2], "batch size": [8], "classes": [3], "images": [100]})
    monkeypatch.setattr(cost, "STEPS", 12)
    monkeypatch.setattr(cost, "N_IMAGES", 300)
    cost.measure(NARROW["dcgan"], 1)
    rows = re.findall(r"│ (steps|batch size|classes|images) +│ +(\d+) +│ +[\d.]+ ", capsys.readouterr().out)
    assert rows == [("steps", "2"), ("batch size", "8"), ("classes", "3"), ("images", "100")]
    assert Image.open("cost.png").width > 1000


def test_intervals_are_counted_that_hold_the_true_value(monkeypatch, capsys):
    monkeypatch.setattr(coverage, "PER_TURN", 5)
    coverage.measure([], 1)
    shown = capsys.readouterr().out
    assert len(re.findall(r"│ +\d+\.\d% +│ +\d+\.\d% +│ +\d+\.\d% +│", shown)) == len(coverage.INTERVALS) + len(
        coverage.SHIFTS
    )
    assert "of 6 equal cells" in shown
    with pytest.raises(SystemExit, match="takes no seed=1"):
        coverage.measure(["seed=1"], 1)


def test_the_start_of_a_run_is_timed():
    done = run_command("startup", *NARROW["dcgan"], "--turns", "1", script="scripts/benchmark.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ train.py +│ +\d+\.\d+ ", done.stdout)


def test_help_says_what_each_benchmark_measures():
    done = run_command("--help", script="scripts/benchmark.py")
    for path in (ROOT / "scripts" / "benchmarks").glob("*.py"):
        assert f"python scripts/benchmark.py {path.stem} " in done.stdout
