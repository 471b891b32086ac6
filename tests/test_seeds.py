"""Trials over seeds, and the best settings confirmed on fresh ones."""

import json
import math
import os
import random
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import wandb
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import OperationalError

from gan.launch.jobs import run_in_threads
from gan.report.statistics import compute_interval
from gan.search.confirmation import ConfirmationSpace, Confirmed, choose_best, list_cells
from gan.search.heartbeat import Heartbeats
from gan.search.parameters import suggest
from gan.search.seeds import SeedRuns
from gan.search.storage import open_storage
from gan.search.workers import Workers
from tests.helpers import wait_until
from tests.studies import numbers, run_search, start

X = FloatDistribution(0, 1)
SPACE = SimpleNamespace(
    parameters={"x": X}, draw_overrides=lambda trial: [f"x={suggest(trial, 'x', X)}", "seed=9", "loss=bce"]
)


class PruneAbove(optuna.pruners.BasePruner):
    """Prunes a trial whose last value is above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def prune(self, study, trial) -> bool:
        return trial.intermediate_values[trial.last_step] > self.limit


def run_seeds(values: dict[int, float], *, pruner=None, known=None) -> tuple[SeedRuns, optuna.Study, list[int]]:
    """Run one trial's seeds in order, and return them with the study and the seeds that were run."""
    study = optuna.create_study(pruner=pruner or optuna.pruners.NopPruner())
    runs, ran = SeedRuns(study.ask(), ["x=1", "seed=9"], values, known or {}), []

    def launch(words: list[str]) -> list[float]:
        assert words[0] == "x=1"
        (seed,) = [int(word.removeprefix("seed=")) for word in words if word.startswith("seed=")]
        ran.append(seed)
        return [values[seed]]

    while (seed := runs.take()) is not None:
        runs.run(seed, launch)
    return runs, study, ran


def test_a_trials_value_is_the_mean_over_its_seeds_and_each_is_reported():
    runs, study, ran = run_seeds({4: 1.0, 5: 2.0, 6: 6.0})
    assert ran == [4, 5, 6]
    assert runs.wait_for_mean() == 3.0
    assert study.trials[0].intermediate_values == {4: 1.0, 5: 2.0, 6: 6.0}


def test_no_seed_is_run_after_one_that_diverges():
    runs, _, ran = run_seeds({0: 1.0, 1: math.inf, 2: 1.0})
    assert ran == [0, 1]
    assert runs.wait_for_mean() == math.inf


def test_a_trial_is_pruned_between_seeds_but_not_after_the_last():
    runs, study, ran = run_seeds({0: 1.0, 1: 5.0, 2: 1.0}, pruner=PruneAbove(3.0))
    assert ran == [0, 1]
    with pytest.raises(optuna.TrialPruned):
        runs.wait_for_mean()
    assert study.trials[0].intermediate_values == {0: 1.0, 1: 5.0}
    assert run_seeds({0: 1.0, 1: 5.0}, pruner=PruneAbove(3.0))[0].wait_for_mean() == 3.0


def test_seeds_of_a_former_try_are_not_run_again():
    runs, study, ran = run_seeds({0: 7.0, 1: 2.0}, known={0: 4.0, 100: 1.0})
    assert ran == [1]
    assert runs.wait_for_mean() == 3.0
    assert study.trials[0].intermediate_values == {1: 2.0}


def test_values_are_reported_in_the_order_of_seeds_whichever_ends_first():
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    runs = SeedRuns(study.ask(), [], [0, 1], {})
    first, second = runs.take(), runs.take()
    runs.run(second, lambda words: [2.0])
    assert study.trials[0].intermediate_values == {}
    runs.run(first, lambda words: [1.0])
    assert study.trials[0].intermediate_values == {0: 1.0, 1: 2.0}
    assert runs.wait_for_mean() == 1.5


def test_the_error_of_a_seed_that_another_worker_ran_is_the_trials():
    runs = SeedRuns(optuna.create_study().ask(), [], [0, 1, 2], {})

    def fail(words):
        raise ArithmeticError("odd")

    runs.run(runs.take(), fail)
    assert runs.take() is None
    with pytest.raises(ArithmeticError, match="odd"):
        runs.wait_for_mean()


def test_a_storage_out_of_reach_for_a_moment_loses_no_report():
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    reached, report = iter([False, True, True]), trial.report

    def try_report(value: float, step: int) -> None:
        if not next(reached):
            raise OperationalError("INSERT", {}, OSError("gone"))
        report(value, step)

    runs = SeedRuns(SimpleNamespace(report=try_report, should_prune=lambda: False), [], [0, 1], {})
    while (seed := runs.take()) is not None:
        runs.run(seed, lambda words: [3.0])
    assert study.trials[0].intermediate_values == {0: 3.0, 1: 3.0}


def test_a_worker_without_a_trial_runs_seeds_of_another(tmp_path):
    """One trial of three seeds, three workers: each seed waits until all three run."""
    storage = open_storage(str(tmp_path / "study.log"))
    study = optuna.create_study(storage=storage, pruner=optuna.pruners.NopPruner())
    together, launched = threading.Barrier(3, timeout=60), []

    def launch(jobs, initial_job_idx):
        launched.append((initial_job_idx, [word for word in jobs[0] if word.startswith("seed=")]))
        together.wait()
        return [SimpleNamespace(return_value=float(len(launched)))]

    heartbeats = Heartbeats(study, storage, interval_s=10)
    limits = {"n_trials": 1, "max_retries": 0, "max_failures": 1, "seeds": [0, 1, 2]}
    launcher = SimpleNamespace(launch=launch)
    workers = Workers(study, launcher, heartbeats=heartbeats, space=SPACE, folder=tmp_path, **limits)
    run_in_threads(lambda _: workers.work(), range(3), n_threads=3)
    assert sorted(launched) == [(0, ["seed=0"]), (0, ["seed=1"]), (0, ["seed=2"])]
    assert study.trials[0].value == 3.0


def test_the_best_settings_are_distinct_and_their_seeds_take_turns():
    study = optuna.create_study()
    for value, x in [(3.0, 0.3), (1.0, 0.1), (1.0, 0.1), (2.0, 0.2)]:
        study.add_trial(create_trial(value=value, params={"x": x}, distributions={"x": X}))
    study.add_trial(create_trial(state=TrialState.PRUNED, params={"x": 0.4}, distributions={"x": X}, value=0.5))
    best = choose_best(study, 2)
    assert [trial.number for trial in best] == [1, 3]
    assert list_cells(best, [5, 6]) == [
        {"confirms": 1, "seed": 5},
        {"confirms": 3, "seed": 5},
        {"confirms": 1, "seed": 6},
        {"confirms": 3, "seed": 6},
    ]


def test_a_confirmation_runs_a_trials_setting_with_a_fresh_seed_and_reports_to_its_own_study():
    study = optuna.create_study(study_name="odd, (name)")
    study.add_trial(create_trial(value=1.0, params={"x": 0.5}, distributions={"x": X}))
    found = SimpleNamespace(list_overrides=lambda params: [f"x={params['x']}", "seed=9", "loss=bce"])
    space = ConfirmationSpace(study, found, subdir="${hydra.job.num}-${seed}", has_reports=True)
    words = space.draw_overrides(optuna.trial.FixedTrial({"confirms": 0, "seed": 7}))
    read = {word.get_key_element(): word.value() for word in OverridesParser.create().parse_overrides(words)}
    assert read == {
        "x": 0.5,
        "loss": "bce",
        "seed": 7,
        "hydra.sweep.subdir": "confirm/${hydra.job.num}-${seed}",
        "callbacks.search.study_name": "odd, (name)-confirmed",
        "callbacks.search.trial": 0,
    }


def test_a_setting_that_diverges_on_a_fresh_seed_is_last_and_has_no_interval():
    trial = create_trial(value=1.0)
    sound, diverging = Confirmed(trial, {1: 5.0, 2: 7.0}), Confirmed(trial, {1: 1.0, 2: math.inf})
    assert (sound.mean, sound.interval) == (6.0, compute_interval([5.0, 7.0]))
    assert diverging.mean == math.inf
    assert all(map(math.isnan, diverging.interval))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.sweeper.n_seeds=0"], "hydra.sweeper.n_seeds=0: must be a whole number of at least 1"),
        (["hydra.sweeper.confirm=-1"], "hydra.sweeper.confirm=-1: must be a whole number of at least 0"),
        (["hydra.sweeper.confirm=1.5"], "hydra.sweeper.confirm=1.5: must be a whole number"),
        (["hydra.sweeper.confirm_seeds=0"], "hydra.sweeper.confirm_seeds=0: must be"),
        (["hydra.sweeper.n_seeds=2", "seed=choice(1,2)"], "hydra.sweeper.n_seeds=2: this search draws the seed"),
        (["hydra.sweeper.confirm=2", "seed=choice(1,2)"], "hydra.sweeper.confirm=2: this search draws the seed"),
        (["hydra.sweeper.n_seeds=2", "seed=null"], "seed=null: must be the first of hydra.sweeper.n_seeds=2 seeds"),
        (["hydra.sweeper.n_seeds=2", "hydra/sweeper/pruner=hyperband"], "n_seeds=2: hyperband compares trials by"),
        (["hydra/sweeper/pruner=wilcoxon"], "hydra/sweeper/pruner=wilcoxon: compares trials on the same seeds"),
        (
            ["hydra.sweeper.confirm=1", "second_objective=images_seen", "hydra.sweeper.direction=[minimize,minimize]"],
            "hydra.sweeper.confirm=1: needs a single objective",
        ),
    ],
)
def test_seeds_that_cannot_be_run_end_the_command_in_one_line(tmp_path, words, said):
    status, text = run_search(tmp_path / "study", *words)
    assert status == 1
    assert said in text
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1


def read_scores(folder: Path) -> dict[str, float]:
    return {
        path.parent.name: json.loads(path.read_text())["scores"]["fid_200"] for path in folder.glob("*/metrics.json")
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_over_seeds_killed_at_random_is_whole_and_its_winner_is_confirmed(tmp_path):
    folder = tmp_path / "study"
    words = ["hydra.sweeper.n_trials=3", "hydra.sweeper.n_seeds=2", "hydra.sweeper.pruner.n_startup_trials=9"]
    words += ["hydra.sweeper.confirm=2", "hydra.sweeper.confirm_seeds=3", "hydra/launcher=local"]
    words += ["hydra.sweeper.n_jobs=2"]
    chance = random.Random(0)
    for _ in range(3):
        known, runs = numbers(folder), len([*folder.rglob("config.yaml")])
        process = start(folder, *words)
        wait_until(lambda known=known: numbers(folder) > known, "another trial")
        wait_until(lambda runs=runs: len([*folder.rglob("config.yaml")]) > runs, "another run")
        time.sleep(chance.uniform(0, 4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    text, _ = process.communicate() if process.poll() is None else start(folder, *words).communicate(timeout=400)
    studies = {
        name: optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/study.db")
        for name in ("random-mnist_5k-mlp", "random-mnist_5k-mlp-confirmed")
    }
    search, confirmed = studies.values()
    ended = [trial for trial in search.trials if trial.state == TrialState.COMPLETE]
    assert len(ended) == 3, text
    scores = read_scores(folder)
    for trial in ended:
        assert [*trial.intermediate_values] == [0, 1]
        assert trial.value == pytest.approx(sum(trial.intermediate_values.values()) / 2)
        history = [*trial.system_attrs.get("retry_history", []), trial.number]
        for seed, value in trial.intermediate_values.items():
            of_seed = [
                scores[name]
                for name in scores
                if name.endswith(f"seed{seed}") and int(name.partition("-")[0]) in history
            ]
            assert pytest.approx(value) in of_seed
    runs = [trial for trial in confirmed.trials if trial.state == TrialState.COMPLETE]
    best = sorted(ended, key=lambda trial: trial.value)[:2]
    assert sorted((run.params["confirms"], run.params["seed"]) for run in runs) == sorted(
        (trial.number, seed) for trial in best for seed in (2, 3, 4)
    )
    assert sorted(read_scores(folder / "confirm").values()) == pytest.approx(sorted(run.value for run in runs))
    results = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    means = {
        trial.number: sum(run.value for run in runs if run.params["confirms"] == trial.number) / 3 for trial in best
    }
    winner = min(means, key=means.get)
    assert results["best_value"] == pytest.approx(means[winner])
    assert results["best_params"] == search.trials[winner].params
    assert [part["trial"] for part in results["confirmed"]] == sorted(means, key=means.get)
    assert f"best: trial {winner}, FID 200 {means[winner]:.2f} on 3 fresh seeds" in text
    for path in (folder / "confirm").glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        assert config["callbacks"]["search"]["trial"] in means
        assert config["optimizer"]["lr"] == search.trials[config["callbacks"]["search"]["trial"]].params["optimizer.lr"]


@pytest.mark.slow
def test_in_wandb_all_runs_of_a_setting_are_one_group_and_name_its_trial(stub, tmp_path):
    folder = tmp_path / "study"
    words = ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_seeds=2", "hydra.sweeper.confirm=1"]
    words += ["hydra.sweeper.confirm_seeds=2", "logger=wandb", "logger.project=test-seeds"]
    process = start(folder, *words, "trainer.max_steps=2", "trainer.val_check_interval=1")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    groups, seeds = {}, {}
    for run in wandb.Api().runs("test-seeds"):
        trial = run.config["callbacks"]["search"]["trial"]
        groups.setdefault(trial, set()).add(run.group)
        seeds.setdefault(trial, []).append(run.config["seed"])
    confirmed = yaml.safe_load((folder / "optimization_results.yaml").read_text())["confirmed"][0]["trial"]
    assert {trial: sorted(of_trial) for trial, of_trial in seeds.items()} == {
        trial: [0, 1, 2, 3] if trial == confirmed else [0, 1] for trial in (0, 1)
    }
    assert [len(names) for names in groups.values()] == [1, 1]
    assert groups[0] != groups[1]


def test_a_study_over_other_seeds_is_another_study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    storage = f"sqlite:///{folder}/study.db"
    assert (
        start(folder, "hydra.sweeper.n_trials=1", "trainer.max_steps=2", "trainer.val_check_interval=1").wait(100) == 0
    )
    text = run_search(folder, "trainer.max_steps=2", "trainer.val_check_interval=1", "hydra.sweeper.n_seeds=2")[1]
    assert "hydra.sweeper.n_seeds=2" in text
    assert "hydra.sweeper.study_name" in text
    assert len(optuna.load_study(study_name=None, storage=storage).trials) == 1
