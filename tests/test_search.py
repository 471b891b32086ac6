"""Optuna studies run by the real command: resumed after kill -9, pruned, and none the worse for a job that dies."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from optuna.trial import TrialState, create_trial

import train
from tests.conftest import FEW_FAKES, NARROW, ROOT

TINY = ["model=mlp", *NARROW["mlp"], "trainer=cpu", "trainer.max_steps=20", "trainer.val_check_interval=10"]
TINY += [*FEW_FAKES, "logger=none", "hydra.sweeper.heartbeat_s=1"]


def start(folder: Path, *overrides: str, search="random", threads="1", **variables: str) -> subprocess.Popen:
    words = [sys.executable, str(ROOT / "train.py"), f"hparams_search={search}", *TINY, f"hydra.sweep.dir={folder}"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | variables
    environment |= {"OMP_NUM_THREADS": threads} if threads else {}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen([*words, *overrides], env=environment, cwd=folder.parent, **options)


def study(folder: Path) -> optuna.Study:
    (name,) = optuna.get_all_study_names(f"sqlite:///{folder}/study.db")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/study.db")


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "hparams_search").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_search_composes_and_says_what_it_costs(configure, path):
    cfg = compose("train", [f"hparams_search={path.stem}"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    sweeper = cfg.hydra.sweeper
    assert sweeper._target_ == "gan.search.sweeper.StudySweeper"
    assert sweeper.study_name == f"{path.stem}-mnist_5k-dcgan"
    assert sweeper.storage == f"sqlite:///multirun/{sweeper.study_name}/study.db"
    assert "search" in cfg.callbacks
    header = path.read_text().splitlines()[1:3]
    assert "?" in header[0]
    assert f"python train.py hparams_search={path.stem}" in header[1]
    runs = 12 if path.stem == "grid" else sweeper.n_trials
    assert f"{runs} runs" in header[1]


def test_a_study_killed_five_times_ends_with_all_its_trials(tmp_path):
    """kill -9 of the command and its job at random moments; the same command again each time."""
    folder = tmp_path / "study"
    chance = random.Random(0)
    interrupted = 0
    for _ in range(5):
        process = start(folder, "hydra.sweeper.n_trials=12")
        time.sleep(chance.uniform(8, 14))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        interrupted += any(trial.state == TrialState.RUNNING for trial in study(folder).trials)
    assert interrupted
    process = start(folder, "hydra.sweeper.n_trials=12")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    trials = study(folder).trials
    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
    assert len({trial.params["optimizer.lr"] for trial in trials if trial.number not in again}) == 12
    kept = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(kept) == 12
    assert {trial.number for trial in trials if trial.state == TrialState.FAIL} <= again
    assert "best: trial" in text
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(trial.value for trial in kept if trial.state == TrialState.COMPLETE)
    for trial in kept:
        (run,) = folder.glob(f"{trial.number}-*")
        used = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())
        assert f"optimizer.lr={trial.params['optimizer.lr']}" in used
        assert json.loads((run / "metrics.json").read_text())["scores"]["fid_200"] == pytest.approx(trial.values[0])


def test_a_job_fails_alone_whatever_happens_to_it(tmp_path):
    """Of eight jobs on two workers two raise, two exit, two are killed -9, one diverges, and one ends well."""
    (tmp_path / "mine" / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "own_losses.py").write_text(
        "import os, sys\n"
        "def raising(): raise ArithmeticError('on ' + os.environ['OMP_NUM_THREADS'] + ' threads')\n"
        "def leaving(): sys.exit(3)\n"
        "def dying(): os.kill(os.getpid(), 9)\n"
    )
    for name in ("raising", "leaving", "dying"):
        (tmp_path / "mine" / "conf" / "loss" / f"{name}.yaml").write_text(f"_target_: own_losses.{name}\n")
    folder = tmp_path / "study"
    process = start(
        folder,
        "loss=bce,raising,leaving,dying",
        "optimizer.lr=1e-3,1e30",
        "seed=0",
        f"hydra.searchpath=[file://{tmp_path}/mine/conf]",
        "hydra/launcher=local",
        "hydra.sweeper.n_jobs=2",
        "trainer.log_every_n_steps=5",
        search="grid",
        threads=None,
        PYTHONPATH=str(tmp_path / "mine"),
    )
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    states = {(t.params["loss"], t.params["optimizer.lr"]): t.state.name for t in study(folder).trials}
    assert len(states) == len(study(folder).trials) == 8
    assert states.pop(("bce", 1e-3)) == "COMPLETE"
    assert set(states.values()) == {"FAIL"}
    assert f"on {max(1, len(os.sched_getaffinity(0)) // 2)} threads" in text  # the workers share the cores
    assert "diverged" in text
    assert "Traceback" not in text


def test_a_poor_trial_is_pruned_and_the_study_knows(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    made = optuna.create_study(study_name="random-mnist_5k-mlp", storage=f"sqlite:///{folder}/study.db")
    for _ in range(5):
        made.add_trial(create_trial(value=1.0, intermediate_values={10: 1.0, 20: 1.0}))
    process = start(folder, "hydra.sweeper.n_trials=6")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    trial = study(folder).trials[5]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs == {"pruned_at_step": 10}
    (run,) = folder.glob("5-*")
    assert json.loads((run / "metrics.json").read_text())["scores"]["generator_steps"] == 10
    assert "pruned at step 10" in text


def test_two_processes_share_a_study_from_a_cold_start(tmp_path):
    folder = tmp_path / "study"
    processes = [start(folder, "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=null") for _ in range(2)]
    for process in processes:
        text, _ = process.communicate(timeout=200)
        assert process.returncode == 0, text
    run = [trial for trial in study(folder).trials if "surplus" not in trial.user_attrs]
    assert [trial.state.is_finished() for trial in run] == [True] * 4
    assert len(list(folder.glob("[0-9]*/metrics.json"))) == 4


def test_more_workers_than_the_launcher_has_is_one_line(tmp_path):
    process = start(tmp_path / "study", "hydra.sweeper.n_jobs=2")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert text.strip().startswith("error: hydra.sweeper.n_jobs=2: Hydra's basic launcher runs one job at a time")
    assert "Traceback" not in text


def test_a_run_returns_its_objective_and_a_second_value(configure):
    tiny = ["model=mlp", *NARROW["mlp"]]
    first, second = train.train(configure(*tiny, "second_objective=images_seen"))
    assert first > 0
    assert second == 20 * 64
