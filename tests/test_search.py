"""Optuna studies run by the real command: resumed after kill -9, pruned, and none the worse for a job that dies."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import wandb
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

import train
from gan.errors import InputError
from gan.launch.jobs import run_in_threads
from gan.run.build import build_data, build_scorer, build_trainer
from gan.run.config import prepare_config
from gan.run.objectives import list_measured
from gan.search.checks import require_objectives
from gan.search.heartbeat import Heartbeats
from gan.search.parameters import suggest
from gan.search.storage import open_storage
from gan.search.trials import BEAT
from gan.search.workers import Workers
from tests.helpers import NARROW, ROOT, SHORT, wait_until
from tests.studies import numbers, run_search, start, study


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


@pytest.mark.slow
@pytest.mark.parametrize("search", sorted(path.stem for path in (ROOT / "conf" / "hparams_search").glob("*.yaml")))
def test_the_stock_sweeper_runs_each_search(tmp_path, search):
    folder = tmp_path / "study"
    words = ["model=dcgan", "model.discriminator.width=4", *SHORT]
    words += [f"hparams_search={search}", "hydra/sweeper=optuna", "callbacks=default", "hydra.sweeper.n_trials=2"]
    words += ["metrics.n_fakes=20", "objective=fid_20", "trainer.val_check_interval=2"]
    budget = ["trainer.max_steps=-1", "budget.images=800"]
    words += budget if search == "multi_objective" else ["trainer.max_steps=2"]
    command = [sys.executable, ROOT / "train.py", *words, f"hydra.sweep.dir={folder}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    results = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    scores = [json.loads((run / "metrics.json").read_text())["scores"] for run in folder.glob("[01]-*")]
    assert len(scores) == 2
    best = (
        results["best_value"] if search != "multi_objective" else min(one["values"][0] for one in results["solutions"])
    )
    assert best == pytest.approx(min(score["fid_20"] for score in scores))


@pytest.mark.parametrize(
    "path", [*(ROOT / "conf" / "hydra" / "sweeper" / "pruner").glob("*.yaml")], ids=lambda p: p.stem
)
def test_each_pruner_is_one_of_optunas(configure, path):
    words = ["hparams_search=optuna", f"hydra/sweeper/pruner={path.stem}"]
    cfg = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    pruner = instantiate(cfg.callbacks.search.pruner, _execution_whitelist_="optuna.pruners.*")
    assert isinstance(pruner, optuna.pruners.BasePruner)


def drawing(**space) -> SimpleNamespace:
    """A search's space whose parameters all exist always."""

    def draw_overrides(trial) -> list[str]:
        return [f"{name}={suggest(trial, name, part)}" for name, part in space.items()]

    return SimpleNamespace(parameters=space, draw_overrides=draw_overrides)


def test_workers_draw_the_trials_of_a_seed_whichever_is_first(tmp_path):
    def drawn(place: str) -> set[tuple]:
        storage = open_storage(place)
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        space = drawing(**{name: FloatDistribution(0, 1) for name in "abcdef"})
        job = SimpleNamespace(launch=lambda *_, **__: [SimpleNamespace(return_value=0.0)])
        heartbeats = Heartbeats(study, storage, interval_s=10)
        limits = {"n_trials": 8, "max_retries": 0, "max_failures": 5}
        workers = Workers(study, job, heartbeats=heartbeats, space=space, folder=tmp_path, **limits)
        run_in_threads(lambda _: workers.work(), range(4), n_threads=4)
        return {tuple(trial.params.values()) for trial in study.trials}

    first = drawn(f"{tmp_path}/first.log")
    assert len(first) == 8
    assert first == drawn(f"{tmp_path}/second.log")


def test_a_pruned_trial_whose_process_died_before_that_was_recorded_is_run_again(tmp_path):
    storage = open_storage(f"{tmp_path}/study.log")
    study = optuna.create_study(storage=storage)
    dead = study.ask()
    dead.set_user_attr("pruned_at_step", 10)
    launched = []

    def launch(_, initial_job_idx: int) -> list[SimpleNamespace]:
        launched.append(initial_job_idx)
        return [SimpleNamespace(return_value=0.5)]

    heartbeats = SimpleNamespace(find_silent_trials=lambda: study.get_trials()[:1], send=nullcontext)
    limits = {"n_trials": 1, "max_retries": 1, "max_failures": 1}
    launcher, space = SimpleNamespace(launch=launch), drawing(a=FloatDistribution(0, 1))
    Workers(study, launcher, heartbeats=heartbeats, space=space, folder=tmp_path, **limits).work()
    first, second = study.get_trials()
    assert launched == [1]
    assert (first.state, second.state, second.values) == (TrialState.FAIL, TrialState.COMPLETE, [0.5])
    assert second.system_attrs["retry_history"] == [0]
    assert "pruned_at_step" not in second.user_attrs


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_killed_five_times_ends_with_all_its_trials(tmp_path):
    """kill -9 of the command and its job at random moments; the same command again each time."""
    folder = tmp_path / "study"
    chance = random.Random(0)
    interrupted = 0
    for _ in range(5):
        known = numbers(folder)
        process = start(folder, "hydra.sweeper.n_trials=12")
        wait_until(lambda known=known: numbers(folder) > known, "another trial")
        time.sleep(chance.uniform(0, 5))
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


@pytest.mark.slow
def test_a_job_fails_alone_whatever_happens_to_it(tmp_path):
    """Of five jobs on two workers one raises, one exits, one is killed -9, one diverges, and one ends well."""
    (tmp_path / "mine" / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "own_losses.py").write_text(
        "import os, sys\n"
        "TEXT = '{OMP_NUM_THREADS} threads, GPU {CUDA_VISIBLE_DEVICES}'\n"
        "def raising(): raise ArithmeticError(TEXT.format(**os.environ))\n"
        "def leaving(): sys.exit(3)\n"
        "def dying(): os.kill(os.getpid(), 9)\n"
    )
    for name in ("raising", "leaving", "dying"):
        (tmp_path / "mine" / "conf" / "loss" / f"{name}.yaml").write_text(f"_target_: own_losses.{name}\n")
    folder = tmp_path / "study"
    folder.mkdir()
    made = optuna.create_study(study_name="random-mnist_5k-mlp", storage=f"sqlite:///{folder}/study.db")
    for loss, rate in [("raising", 1e-3), ("leaving", 1e-3), ("dying", 1e-3), ("bce", 1e30), ("bce", 1e-3)]:
        made.enqueue_trial({"loss": loss, "optimizer.lr": rate})
    process = start(
        folder,
        "loss=choice(bce,raising,leaving,dying)",
        "optimizer.lr=tag(log,interval(1e-4,1e31))",
        "penalty=none",
        "hydra.sweeper.params=null",
        f"hydra.searchpath=[file://{tmp_path}/mine/conf]",
        "hydra/launcher=local",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.n_trials=5",
        "hydra.sweeper.max_retries=0",
        "trainer.log_every_n_steps=5",
        threads=None,
        PYTHONPATH=str(tmp_path / "mine"),
        CUDA_VISIBLE_DEVICES="3,5",
    )
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    trials = study(folder).trials
    assert [trial.state.name for trial in trials] == ["FAIL"] * 4 + ["COMPLETE"], text
    raised, left, died, diverged = (trial.user_attrs["failure"] for trial in trials[:4])
    threads = max(1, len(os.sched_getaffinity(0)) // 2)  # the workers share the cores, and have a GPU each
    assert re.fullmatch(f"failed: ArithmeticError {threads} threads, GPU [35]", raised)
    assert re.fullmatch(r"failed: ProcessDied process \d+ died; see .*/\.logs/1\.log", left)
    assert re.fullmatch(r"failed: ProcessDied process \d+ died; see .*/\.logs/2\.log", died)
    assert diverged == "diverged"
    for failure in (raised, left, died, diverged):
        assert failure in text
    assert "Traceback" not in text


LOGGERS = [
    "none",
    pytest.param("wandb", marks=pytest.mark.server),
]


@pytest.mark.slow
@pytest.mark.parametrize("logger", LOGGERS)
def test_a_poor_trial_is_pruned_and_study_and_wandb_know(tmp_path, logger):
    folder = tmp_path / "study"
    folder.mkdir()
    made = optuna.create_study(study_name="random-mnist_5k-mlp", storage=f"sqlite:///{folder}/study.db")
    for _ in range(5):
        made.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0, 2: 1.0}))
    project = [f"logger={logger}", *(["logger.project=test-pruned"] if logger == "wandb" else [])]
    process = start(folder, "hydra.sweeper.n_trials=6", *project)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    trial = study(folder).trials[5]
    assert trial.state == TrialState.PRUNED
    assert {name: value for name, value in trial.user_attrs.items() if name != BEAT} == {"pruned_at_step": 10}
    (run,) = folder.glob("5-*")
    assert json.loads((run / "metrics.json").read_text())["scores"]["generator_steps"] == 10
    assert "pruned at step 10" in text
    if logger == "wandb":
        (place,) = (run / "wandb").glob("run-*")
        filed = wandb.Api().run(f"test-pruned/{place.name.rpartition('-')[2]}")
        assert (filed.state, filed.summary["pruned_at_step"]) == ("finished", 10)
        assert (filed.config["study"], filed.config["trial"]) == ("random-mnist_5k-mlp", 5)
        assert filed.config["optimizer"]["lr"] == pytest.approx(trial.params["optimizer.lr"])


@pytest.mark.slow
def test_two_objectives_end_in_a_pareto_front(tmp_path):
    folder = tmp_path / "study"
    space = ["trainer.max_steps=-1", "budget.images=range(320,960)", "data.batch_size=choice(16,32)"]
    process = start(folder, "hydra.sweeper.n_trials=3", *space, search="multi_objective")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())["solutions"]
    values = [one["values"] for one in best]
    assert not any(a[0] <= b[0] and a[1] <= b[1] for a in values for b in values if a != b)
    shown = re.findall(r"best: trial (\d+), FID 200 (\S+), Images seen (\S+)", text)
    for one, front in zip(sorted(values), shown, strict=True):
        (run,) = folder.glob(f"{front[0]}-*/metrics.json")
        scores = json.loads(run.read_text())["scores"]
        assert [scores["fid_200"], scores["images_seen"]] == one
        assert front[1:] == (f"{one[0]:.2f}", f"{one[1]:,.0f}")
    assert (folder / "pareto_front.png").is_file()
    assert [study(folder).metric_names] == [["fid_200", "images_seen"]]


def test_a_run_whose_trial_is_over_ends_by_itself_and_another_is_drawn(tmp_path):
    """Such as one on a cluster whose trial another worker took for dead."""
    folder = tmp_path / "study"
    process = start(folder, "hydra.sweeper.n_trials=1", "trainer.max_steps=1000000")
    wait_until(lambda: numbers(folder) and study(folder).trials[0].intermediate_values, "a first report")
    study(folder).tell(0, state=TrialState.FAIL)
    wait_until(lambda: numbers(folder) == 2, "the next trial")
    os.kill(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert "trial 0 is over" in text
    assert "trial 0 was taken for dead" in text
    assert "Traceback" not in text
    (run,) = folder.glob("0-*")
    assert json.loads((run / "metrics.json").read_text())["scores"]["generator_steps"] < 1000000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number"),
    [("basic", signal.SIGINT), ("basic", signal.SIGTERM), ("local", signal.SIGTERM), ("local", signal.SIGKILL)],
)
def test_a_command_that_is_ended_ends_its_runs_and_goes_on_with_them(tmp_path, launcher, number):
    """By Ctrl-C, kill, and kill -9; a run goes on in the folder of the trial that is its next try."""
    folder = tmp_path / "study"
    words = [f"hydra/launcher={launcher}", "hydra.sweeper.n_trials=1"]
    words += ["trainer.val_check_interval=50", "trainer.max_steps=400"]
    process = start(folder, *words)
    wait_until(lambda: list(folder.glob("0-*/checkpoints/last.ckpt")), "a first checkpoint")
    os.kill(process.pid, number)
    text, _ = process.communicate(timeout=30)
    if number != signal.SIGKILL:
        assert process.returncode == 1, text
        assert "study stopped; the same command resumes it" in text
        assert "Traceback" not in text
        assert [trial.state for trial in study(folder).trials] == [TrialState.FAIL, TrialState.WAITING]
    wait_until(lambda: subprocess.run(["pgrep", "-f", folder]).returncode == 1, "the end of the run's process", 15)
    (before,) = folder.glob("0-*/history.jsonl")
    text, _ = start(folder, *words).communicate(timeout=100)
    assert [trial.state for trial in study(folder).trials] == [TrialState.FAIL, TrialState.COMPLETE], text
    (after,) = folder.glob("1-*/history.jsonl")
    assert after.read_text().startswith(before.read_text())
    steps = [json.loads(line)["step"] for line in after.read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal", "postgresql"])
def test_two_processes_share_a_study_from_a_cold_start(tmp_path, storage):
    folder = tmp_path / "study"
    places = {"sqlite": f"sqlite:///{folder}/study.db", "journal": f"{folder}/study.log"}
    if storage == "postgresql" and not os.environ.get("DATABASE_URL", "").startswith(storage):
        pytest.skip("needs a PostgreSQL server at DATABASE_URL")
    place = places.get(storage) or os.environ["DATABASE_URL"]
    words = ["hydra.sweeper.n_trials=4", f"hydra.sweeper.storage={place}"]
    words += [f"hydra.sweeper.study_name=test-{os.urandom(4).hex()}"]
    processes = [start(folder, *words) for _ in range(2)]
    for process in processes:
        text, _ = process.communicate(timeout=200)
        assert process.returncode == 0, text
    made = optuna.load_study(study_name=words[-1].partition("=")[2], storage=open_storage(place))
    run = [trial for trial in made.trials if "surplus" not in trial.user_attrs]
    assert [trial.state.is_finished() for trial in run] == [True] * 4
    assert len({trial.params["optimizer.lr"] for trial in run}) == 4
    assert len(list(folder.glob("[0-9]*/metrics.json"))) == 4


def test_a_study_goes_on_with_its_own_space_only(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    made = optuna.create_study(study_name="random-mnist_5k-mlp", storage=f"sqlite:///{folder}/study.db")
    space = {"loss": CategoricalDistribution(["bce", "wgan"])}
    made.add_trial(create_trial(value=1.0, params={"loss": "wgan"}, distributions=space))
    text = run_search(folder)[1]
    assert text.strip().startswith("error: loss: the study random-mnist_5k-mlp has trials with Categorical")
    assert "hydra.sweeper.study_name" in text
    assert len(study(folder).trials) == 1


@pytest.mark.slow
def test_the_dashboard_opens_a_study(tmp_path):
    folder = tmp_path / "study"
    assert start(folder, "hydra.sweeper.n_trials=2").wait(100) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen([program, f"sqlite:///{folder}/study.db", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        shown = {}

        def asked() -> bool:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies") as answer:
                shown.update(json.load(answer))
            return bool(shown)

        wait_until(asked, "the dashboard", 60)
        assert [one["study_name"] for one in shown["study_summaries"]] == ["random-mnist_5k-mlp"]
        number = shown["study_summaries"][0]["study_id"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies/{number}") as answer:
            trials = json.load(answer)["trials"]
        assert [trial["state"] for trial in trials] == ["Complete"] * 2
    finally:
        server.terminate()
        server.wait(10)


def test_a_parameter_that_no_config_has_ends_the_command_before_a_trial(tmp_path):
    text = run_search(tmp_path / "study", "optimizer.lrr=choice(1,2)")[1]
    assert text.strip().startswith("error: Could not override 'optimizer.lrr'.")
    assert "Did you mean: 'lr'?" in text
    assert "Traceback" not in text
    assert numbers(tmp_path / "study") == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.sweeper.pruner.percentile=250", "error: hydra.sweeper.pruner: Percentile must be between 0 and 100"),
        (
            "hydra.sweeper.sampler._target_=optuna.samplers.Foretold",
            "error: hydra.sweeper.sampler: Error locating target",
        ),
    ],
)
def test_a_sampler_or_pruner_that_there_is_not_is_one_line(tmp_path, word, said):
    status, text = run_search(tmp_path / "study", word)
    assert status == 1
    assert text.strip().startswith(said), text
    assert "Traceback" not in text


def test_what_a_search_amounts_to_can_be_shown(tmp_path):
    text = run_search(tmp_path / "study", "--cfg", "hydra", "--package", "hydra.sweeper")[1]
    assert yaml.safe_load(text)["study_name"].startswith("random-")
    assert not (tmp_path / "study").exists()


def test_more_workers_than_the_launcher_has_is_one_line(tmp_path):
    status, text = run_search(tmp_path / "study", "hydra.sweeper.n_jobs=2")
    assert status == 1
    assert text.strip().startswith("error: hydra.sweeper.n_jobs=2: Hydra's basic launcher runs one job at a time")
    assert "Traceback" not in text


@pytest.mark.parametrize("conditional", [True, False])
def test_what_a_run_measures_is_known_before_it_trains(configure, conditional):
    words = ["model=mlp", *NARROW["mlp"], f"conditional={conditional}", "trainer.max_steps=2"]
    cfg = prepare_config(configure(*words))
    data = build_data(cfg)
    _, evaluation = build_trainer(cfg, data, build_scorer(cfg, data))
    train.train(configure(*words))
    scores = json.loads((Path(cfg.run_dir) / "metrics.json").read_text())["scores"]
    assert {*list_measured(evaluation)} == scores.keys()
    with pytest.raises(InputError, match=r"second_objective=image_seen: must be one of fid_200, kid, .*images_seen"):
        train.train(configure(*words, "second_objective=image_seen", f"run_dir={cfg.run_dir}/other"))


@pytest.mark.parametrize(
    ("objectives", "directions", "said"),
    [
        (["fid", None], ["minimize"], ""),
        (["fid", "conditional_accuracy"], ["minimize", "maximize"], ""),
        (
            ["fid", "images_seen"],
            ["minimize"],
            "hydra.sweeper.direction=.'minimize'.: must have one for each of fid, im",
        ),
        (["fid", None], ["minimize", "minimize"], "hydra.sweeper.direction=.*must have one for each of fid"),
        (["fid", None], ["maximize"], "hydra.sweeper.direction=maximize: fid is a distance"),
        (["fid", None], ["smallest"], "hydra.sweeper.direction=smallest: must be minimize or maximize"),
        ([None, None], ["minimize"], "objective=null: a study needs a score"),
    ],
)
def test_a_study_has_a_direction_for_each_objective(objectives, directions, said):
    with pytest.raises(InputError, match=said) if said else nullcontext():
        require_objectives(objectives, directions)


@pytest.mark.slow
def test_a_mistake_that_all_trials_share_is_one_line_and_the_mended_command_runs(tmp_path):
    """In a grid with a parameter that exists for one of its choices, in a working folder of each run's own."""
    folder = tmp_path / "study"
    words = ["trainer.max_steps=2", "hydra.sweeper.params=null", "penalty=choice(none,r1)", "hydra.job.chdir=true"]
    words += ["penalty.r1.gamma=choice(1,2)", "hydra.sweeper.storage=${hydra.sweep.dir}/study.log"]
    process = start(folder, *words, "metrics.n_fakes=5", "objective=fid_5", search="grid")
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert re.search(r"^error: metrics.n_fakes=5: must be at least 10$", text, re.M), text
    process = start(folder, *words, search="grid")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    trials = optuna.load_study(study_name="grid-mnist_5k-mlp", storage=open_storage(f"{folder}/study.log")).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    cells = [(trial.params["penalty"], trial.params.get("penalty.r1.gamma")) for trial in trials[1:]]
    assert {*cells} == {("none", None), ("r1", 1), ("r1", 2)}


def test_a_run_returns_its_objective_and_a_second_value(configure):
    tiny = ["model=mlp", *NARROW["mlp"]]
    first, second = train.train(configure(*tiny, "second_objective=images_seen"))
    assert first > 0
    assert second == 20 * 64
