"""Sweep files: valid for W&B, composable by Hydra, and run by the real agent where a W&B server is."""

import itertools
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import wandb
import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from sweeps.config.schema import validator

from gan.errors import InputError
from gan.launch.swept_keys import require_effects
from gan.launch.swept_run import select_overrides
from gan.launch.wandb_agent import translate_parameter, translate_parameters, translate_sweep
from gan.run.command_line import quote_value
from tests.helpers import NARROW, ROOT, SHORT, create_sweep, wait_until, wandb_environment, write_sweep
from tests.processes import run_forked

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def sampled(parameter: dict) -> list:
    """Values as an agent would pass them: all that are listed, the ends and some between of a distribution."""
    if "values" in parameter:
        return parameter["values"]
    low, high = parameter["min"], parameter["max"]
    between = [random.uniform(low, high) for _ in range(3)]
    return [low, high, *(map(round, between) if isinstance(low, int) else between), int(high)]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
class TestFiles:
    def test_the_official_schema_accepts_it(self, path):
        sweep = read(path)
        assert sweep.pop("run_cap", 1) >= 1  # which the schema's newest release for NumPy 2 does not know
        assert [error.message for error in validator.iter_errors(sweep)] == []

    def test_every_parameter_composes_with_each_of_its_values(self, configure, path):
        sweep = read(path)
        fixed = [word for word in sweep["command"] if "=" in word]
        for name, parameter in sweep["parameters"].items():
            for value in sampled(parameter):
                chosen = translate_parameters([*fixed, json.dumps({name: value})], None, ROOT)
                cfg = compose("train", chosen, return_hydra_config=True)
                HydraConfig.instance().set_config(cfg)
                resolved = OmegaConf.to_container(cfg, resolve=False)
                if name in cfg.hydra.runtime.choices:
                    assert cfg.hydra.runtime.choices[name] == value
                elif isinstance(value, list):  # several options of a config group
                    assert [*cfg[name]] == value
                else:
                    assert OmegaConf.select(cfg, name) == value
                assert resolved["ckpt_path"] == "last"

    def test_its_header_asks_a_question_and_names_command_runs_and_cost(self, path):
        header = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
        assert "?" in header.splitlines()[0] + header.splitlines()[1]
        assert f"wandb sweep sweeps/{path.name}" in header
        assert re.search(r"\d+ (to \d+ )?minutes|minutes each", header)
        sweep = read(path)
        sizes = [len(parameter["values"]) for parameter in sweep["parameters"].values() if "values" in parameter]
        assert f"{sweep.get('run_cap', math.prod(sizes))} runs" in header

    def test_it_minimises_the_objective_of_its_data_in_the_suites_project(self, path):
        sweep = read(path)
        assert sweep["project"] == "gan-sweeps"
        assert sweep["metric"]["goal"] == "minimize"
        objective = {"collapse": "mode_kl", "stacked_mnist": "reverse_kl"}.get(path.stem, "fid")
        assert sweep["metric"]["name"] == (objective if "early_terminate" in sweep else f"{objective}_best")

    def test_its_multirun_parses_and_starts_as_it_stands(self, path):
        words = translate_sweep(path.stem, read(path))
        assert words[0] == "-m"
        OverridesParser.create().parse_overrides(words[1:])

    def test_every_parameter_changes_what_is_built(self, configure, path):
        """By the values of its own, as its multirun has them."""
        sweep = read(path)
        fixed = [word for word in sweep["command"] if "=" in word]
        ends = {name: sampled(part)[:2] for name, part in sweep["parameters"].items()}
        words = {name: [f"{name}={quote_value(value)}" for value in values] for name, values in ends.items()}
        require_effects(
            {word: [word] for word in fixed} | words, composed, groups=composed(fixed).hydra.runtime.choices
        )

    @pytest.mark.server
    def test_the_cli_accepts_it(self, server, path):
        assert create_sweep(path)


@pytest.mark.parametrize(
    "value",
    [None, True, False, 1, 1.5, 1e-05, "hinge", "wgan_gp", "a, b", "it's", "x=y", "", [1, "a,b"], {"r1": {"gamma": 1}}],
)
def test_any_value_reaches_hydra_as_what_it_is(value):
    parsed = OverridesParser.create().parse_override(f"key={quote_value(value)}").value()
    assert OmegaConf.to_container(OmegaConf.create({"key": parsed}))["key"] == value


def test_a_run_that_starts_again_keeps_its_first_overrides(tmp_path):
    """W&B hands a requeued run its whole config, nested and with keys that are no overrides."""
    first = tmp_path / "mnist_5k-mlp-bce" / "abc123" / ".hydra"
    first.mkdir(parents=True)
    (first / "overrides.yaml").write_text("- model=mlp\n- ckpt_path=last\n")
    again = json.dumps({"model": {"generator": {"width": 3}}, "choices": {"model": "mlp"}})
    assert translate_parameters([again], "abc123", tmp_path) == ["model=mlp", "ckpt_path=last"]
    assert translate_parameters(['{"seed": 1}'], "other", tmp_path) == ["seed=1", "ckpt_path=last"]


def composed(words) -> DictConfig:
    return compose("train", [*words], return_hydra_config=True)


OPTIONS = {"penalty": ["none", "r1", "r2"], "model": ["dcgan", "mlp"]}


@pytest.mark.parametrize(
    ("fixed", "given", "expected"),
    [
        ([], {"optimizer.lr": 1e-3, "seed": 1}, ["optimizer.lr=0.001", "seed=1"]),
        ([], {"penalty": "none", "penalty.r1.gamma": 1}, ["penalty=none"]),
        ([], {"penalty": ["r1", "r2"], "penalty.r2.gamma": 1}, ["penalty=[r1,r2]", "penalty.r2.gamma=1"]),
        ([], {"model": "mlp", "discriminator_norm": "layer"}, ["model=mlp", "discriminator_norm=layer"]),
        (["model=mlp"], {"discriminator_norm": "layer"}, "^discriminator_norm: changes nothing"),
        (["experiment=quickstart"], {"data_dir": "a"}, "^data_dir: changes nothing"),
        (["penalty=none"], {"penalty.r1.gamma": 1}, "Could not override 'penalty.r1.gamma'"),
        ([], {"penalty": "r1", "penalty.r1.gam": 1}, "Did you mean: 'gamma'"),
    ],
)
def test_an_agents_parameters_exist_and_act(configure, fixed, given, expected):
    def check() -> list[str]:
        return select_overrides(fixed, given, composed, lambda name: OPTIONS.get(name, []))

    if isinstance(expected, list):
        assert check() == expected
    else:
        with pytest.raises(InputError, match=expected):
            check()


@pytest.mark.parametrize(
    ("words", "dead"),
    [
        ({"optimizer.lr": [1, 2], "optimizer.generator.lr": [1], "optimizer.discriminator.lr": [1]}, "optimizer.lr"),
        ({"optimizer.lr": [1, 1.0]}, "optimizer.lr"),
        ({"model": ["mlp"], "discriminator_norm": ["batch", "layer"]}, "discriminator_norm"),
        ({"model": ["mlp", "dcgan"], "discriminator_norm": ["batch", "layer"]}, None),
        ({"loss": ["bce", "hinge"], "seed": [0, 1], "optimizer.lr": [1, 2]}, None),
        ({"optimizer.lr": [1, 1.0, 2]}, None),
        ({"loss": ["bce", "no_such_loss"]}, None),  # Hydra says what is wrong
    ],
)
def test_a_swept_key_that_does_nothing_is_refused(configure, words, dead):
    alternatives = {name: [f"{name}={value}" for value in values] for name, values in words.items()}
    groups = composed([]).hydra.runtime.choices
    if dead is None:
        require_effects(alternatives, composed, groups=groups)
    else:
        with pytest.raises(InputError, match=f"^{dead}: changes nothing: "):
            require_effects(alternatives, composed, groups=groups)


def test_a_multirun_with_a_dead_key_ends_before_its_first_run(tmp_path):
    """A recipe's own callbacks, which time the runs, come after the check."""
    words = ["-m", "data_dir=a,b", "logger=none", f"hydra.sweep.dir={tmp_path}"]
    for recipe in ([], ["hydra/callbacks=forecast"]):
        done = run_forked(*words, *recipe, script="train.py")
        assert done.returncode == 1
        assert done.stderr.startswith("error: data_dir: changes nothing: ")
        assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"min": 1, "max": 3}, "range(1,4)"),
        ({"distribution": "int_uniform", "min": 1.0, "max": 3.0}, "range(1,4)"),
        ({"distribution": "uniform", "min": 0, "max": 1}, "interval(0.0,1.0)"),
        ({"distribution": "log_uniform_values", "min": 1, "max": 100}, "tag(log,interval(1.0,100.0))"),
        ({"min": "1e-4", "max": 1}, "interval(0.0001,1.0)"),  # as YAML reads 1e-4
        ({"distribution": "categorical", "values": ["a", None]}, "choice(a,null)"),
        ({"distribution": "constant", "value": [1, 2]}, "[1,2]"),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1}, "lr: distribution q_uniform has no Hydra"),
        ({"distribution": "normal", "mu": 0, "sigma": 1}, "lr: distribution normal has no Hydra equivalent"),
        ({"distribution": "inv_log_uniform_values", "min": 1, "max": 2}, "inv_log_uniform_values has no Hydra"),
        ({"values": [1, 2], "probabilities": [0.1, 0.9]}, "lr: probabilities have no Hydra equivalent"),
        ({"min": 1}, "lr: max=None; give value, values, or min and max"),
        ({"values": []}, "lr: values must be a list"),
    ],
)
def test_a_distribution_becomes_optunas_or_is_named(parameter, expected):
    if "lr: " in expected or " " in expected:
        with pytest.raises(InputError, match=re.escape(expected)):
            translate_parameter("lr", parameter)
    else:
        assert translate_parameter("lr", parameter) == expected


NESTED = {"optimizer": {"parameters": {"lr": {"values": [1, 2]}}}, "n_critic": {"min": 1, "max": 3}}


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"method": "grid", "parameters": NESTED}, ["-m", "optimizer.lr=1,2", "n_critic=1,2,3"]),
        (
            {
                "method": "grid",
                "parameters": {"seed": {"value": 0}},
                "metric": {"name": "kid_best", "goal": "minimize"},
            },
            ["-m", "objective=kid", "seed=0"],
        ),
        (
            {
                "method": "grid",
                "parameters": {"seed": {"value": 0}},
                "metric": {"name": "fid_200_best"},
                "command": ["${program}", "metrics.n_fakes=200", "objective=fid_200", "${args_json}"],
            },
            ["-m", "metrics.n_fakes=200", "objective=fid_200", "seed=0"],
        ),
        (
            {"method": "grid", "parameters": NESTED, "metric": {"name": "conditional_accuracy", "goal": "maximize"}},
            "metric.name=conditional_accuracy: .* minimizes fid",
        ),
        (
            {"method": "random", "parameters": NESTED, "metric": {"name": "fid", "goal": "maximize"}},
            "metric.goal=maximize",
        ),
        ({"method": "grid", "parameters": {"lr": {"min": 0.1, "max": 1.0}}}, "lr: a grid needs values"),
        ({"method": "hyperopt", "parameters": NESTED}, "method=hyperopt: must be one of grid, random, bayes"),
        ({"parameters": NESTED}, "method: is missing"),
        ({"method": "grid"}, "parameters: is missing"),
        ({"method": "grid", "parameters": {"lr": 3}}, "parameters: must be a mapping"),
        (["grid"], "is no sweep"),
    ],
)
def test_a_sweep_file_becomes_a_multirun_or_is_one_line(sweep, expected):
    if isinstance(expected, list):
        assert translate_sweep("name", sweep) == expected
    else:
        with pytest.raises(InputError, match=expected):
            translate_sweep("name", sweep)


def test_a_search_keeps_its_metric_and_hyperbands_eta():
    sweep = {"method": "bayes", "parameters": NESTED, "metric": {"name": "kid"}, "run_cap": 7}
    words = translate_sweep("mine", sweep | {"early_terminate": {"type": "hyperband", "eta": 2}})
    assert {"objective=kid", "hydra/sweeper/sampler=tpe", "hydra.sweeper.n_trials=7"} <= {*words}
    assert "hydra.sweeper.pruner.reduction_factor=2" in words
    assert words[-2:] == ["optimizer.lr=choice(1,2)", "n_critic=range(1,4)"]


@pytest.mark.slow
def test_a_sweep_runs_without_a_server(tmp_path):
    """The loss sweep, cut down to two losses and a seed, by the command that it prints."""
    small = ["loss=bce,hinge", "seed=0", *NARROW["dcgan"], *SHORT, "logger=none", f"hydra.sweep.dir={tmp_path}"]
    done = run_forked("sweeps/loss.yaml", "--run", *small, script="scripts/sweep_local.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("python train.py -m experiment=quickstart discriminator_norm=layer loss=bce,hinge")
    assert sorted(path.name for path in tmp_path.glob("[0-9]*")) == [
        "0-mnist_5k-dcgan-bce-seed0",
        "1-mnist_5k-dcgan-hinge-seed0",
    ]


@pytest.mark.slow
def test_a_search_runs_without_a_server_as_a_study(tmp_path):
    small = [
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.confirm=0",
        *NARROW["dcgan"],
        *SHORT,
        "logger=none",
        f"hydra.sweep.dir={tmp_path}",
    ]
    done = run_forked("sweeps/hyperband.yaml", "--run", *small, script="scripts/sweep_local.py")
    assert done.returncode == 0, done.stderr
    assert "study hyperband: 2 trials" in done.stdout
    assert "best: trial" in done.stdout
    assert len(list(tmp_path.glob("[0-9]*/metrics.json"))) == 2


def agent(sweep: str, folder: Path, *arguments: str) -> subprocess.Popen:
    words = [Path(sys.executable).with_name("wandb"), "agent", *arguments, sweep]
    log = (folder / f"agent-{time.monotonic_ns()}.log").open("w")
    return subprocess.Popen(
        words, cwd=folder, env=wandb_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )


def find_histories(folder: Path) -> list[Path]:
    """Return the histories of the runs that have been scored."""
    return list(folder.glob("outputs/*/*/history.jsonl"))


def signalled(number: int, folder: Path, *words: str) -> None:
    """Send a signal to the runs of a folder that have been started with these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of processes that end meanwhile
            line = (path / "cmdline").read_bytes().split(b"\0")
            if os.readlink(path / "cwd") == str(folder) and {*map(str.encode, words)} < {*line}:
                found.append(int(path.name))
    assert found
    for pid in found:
        os.kill(pid, number)


@pytest.fixture
def server():
    """A test's own requests must all be known to the server."""
    before = len(unknown())
    yield
    assert unknown()[before:] == []


def dump() -> dict:
    """What the stand-in server has received; nothing of a real one."""
    try:
        with urllib.request.urlopen(f"{os.environ['WANDB_BASE_URL']}/__dump") as answer:
            return json.load(answer)
    except (urllib.error.HTTPError, ValueError):
        return {}


def unknown() -> list[str]:
    """What the stand-in did not understand, but for the client's telemetry."""
    return [line for line in dump().get("unknown", []) if "/sdk/otel/" not in line]


def models(run) -> list[tuple[str, list[str]]]:
    """Names and aliases of the models that a run has filed; the stand-in has them, but not for the client's API."""
    if received := dump():
        filed = [part for part in received["artifacts"] if part["run"] == run.id and part["type"] == "model"]
        assert all({"generator.safetensors", "generator.yaml"} <= set(part["files"]) for part in filed)
        return [(part["name"], part["aliases"]) for part in filed]
    return [(part.name.split(":")[0], part.aliases) for part in run.logged_artifacts() if part.type == "model"]


@pytest.mark.server
def test_two_agents_finish_a_grid_and_every_run_reads_back(server, tmp_path):
    sweep = create_sweep(
        write_sweep(tmp_path, "test-grid", {"loss": {"values": ["bce", "hinge"]}, "seed": {"values": [0, 1]}})
    )
    for process in [agent(sweep, tmp_path), agent(sweep, tmp_path)]:
        assert process.wait(300) == 0
    runs = list(wandb.Api().sweep(sweep).runs)
    assert len(runs) == 4
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 4
    for run in runs:
        loss, seed = run.config["choices"]["loss"], run.config["seed"]
        assert (run.state, run.group) == ("finished", run.config["choices"]["cell"])
        assert run.group.startswith(f"mnist_5k-mlp-{loss}-lr_")
        own = json.loads((tmp_path / "outputs" / f"mnist_5k-mlp-{loss}" / run.id / "metrics.json").read_text())
        assert run.summary["fid_200_best"] == own["scores"]["fid_200_best"]
        assert dict(run.summary["protocol"]) == own["protocol"]
        rows = [row for row in run.scan_history() if row.get("fid_200")]
        assert [row["trainer/global_step"] for row in rows] == [10, 20]
        assert [row["images_seen"] for row in rows] == [640, 1280]
        assert [file.name for file in run.files() if "samples" in file.name and file.name.endswith(".png")]
        assert (run.config["loss"], seed in (0, 1)) == (loss, True)
        ((name, aliases),) = models(run)
        assert name == f"generator-{run.group}"
        rivals = [other.summary["fid_200_best"] for other in runs if other.group == run.group]
        assert run.summary["fid_200_best"] > min(rivals) or "best" in aliases
    assert len({run.group for run in runs}) == 2
    cells = {(run.config["choices"]["loss"], run.config["seed"]) for run in runs}
    assert cells == set(itertools.product(("bce", "hinge"), (0, 1)))


@pytest.mark.server
def test_a_run_that_is_stopped_ends_in_good_order_and_the_sweep_goes_on(server, tmp_path):
    """SIGTERM to one process, as an agent sends it for early termination."""
    parameters = {"seed": {"values": [0, 1]}, "trainer.max_steps": {"value": 1_000_000}}
    sweep = create_sweep(write_sweep(tmp_path, "test-stop", parameters, "trainer.log_every_n_steps=10"))
    process = agent(sweep, tmp_path)
    for stopped in (1, 2):
        histories = wait_until(lambda n=stopped: len(h := find_histories(tmp_path)) == n and h, "its first score")
        newest = max(histories, key=lambda path: path.stat().st_mtime)
        signalled(signal.SIGTERM, tmp_path, f"seed={stopped - 1}", "trainer.max_steps=1000000")
        wait_until((newest.parent / "metrics.json").is_file, "its last scores", 60)
    assert process.wait(120) == 0
    for run in wandb.Api().sweep(sweep).runs:
        assert run.state == "finished"
        assert run.summary["fid_200_best"] > 0
        assert 0 < run.summary["generator_steps"] < 1_000_000
        assert (tmp_path / "outputs" / run.config["choices"]["group"] / run.id / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.server
def test_failed_and_diverged_runs_end_in_their_states_and_the_sweep_goes_on(server, tmp_path):
    """A learning rate of 1e30 diverges, and a loss that is not there fails."""
    (tmp_path / "own" / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "conf" / "loss" / "broken.yaml").write_text("_target_: gan.losses.Nothing\n")
    parameters = {"loss": {"values": ["broken", "bce"]}, "optimizer.lr": {"values": [1.0e30, 2.0e-4]}}
    search = "hydra.searchpath=[file://" + str(tmp_path / "own" / "conf") + "]"
    sweep = create_sweep(write_sweep(tmp_path, "test-states", parameters, search, "trainer.log_every_n_steps=5"))
    assert agent(sweep, tmp_path).wait(300) == 0
    runs = list(wandb.Api().sweep(sweep).runs)
    states = sorted((str(run.config.get("loss")), float(run.config["optimizer.lr"]), run.state) for run in runs)
    assert states == [
        ("bce", 2e-4, "finished"),
        ("bce", 1e30, "finished"),
        ("broken", 2e-4, "failed"),
        ("broken", 1e30, "failed"),
    ]
    (diverged,) = (run for run in runs if run.state == "finished" and run.config["optimizer.lr"] == 1e30)
    assert diverged.summary["diverged"]


@pytest.mark.server
def test_a_run_killed_at_once_counts_as_crashed_and_the_next_one_runs(server, tmp_path):
    sweep = create_sweep(write_sweep(tmp_path, "test-kill", {"trainer.max_steps": {"values": [1_000_000, 20]}}))
    process = agent(sweep, tmp_path)
    wait_until(lambda: find_histories(tmp_path), "its first score")
    signalled(signal.SIGKILL, tmp_path, "trainer.max_steps=1000000")
    assert process.wait(120) == 0
    states = {run.config["trainer.max_steps"]: run.state for run in wandb.Api().sweep(sweep).runs}
    assert states == {1_000_000: "crashed", 20: "finished"}


@pytest.mark.server
@pytest.mark.timeout(900)
def test_hyperband_stops_poor_runs_which_end_in_good_order(server, tmp_path):
    """Two runs with a useful learning rate set the bar for a third that learns nothing."""
    rates = {"values": [1.0e-3, 9.0e-4, 1.0e-9]}
    budget = ["trainer.max_steps=1000000", "+trainer.max_time=00:00:00:40", "trainer.val_check_interval=100"]
    rules = {"metric": {"name": "fid_200", "goal": "minimize"}}
    rules["early_terminate"] = {"type": "hyperband", "min_iter": 2, "eta": 2}
    sweep = create_sweep(write_sweep(tmp_path, "test-hyperband", {"optimizer.lr": rates}, *budget, **rules))
    assert agent(sweep, tmp_path).wait(500) == 0
    runs = {float(run.config["optimizer.lr"]): run for run in wandb.Api().sweep(sweep).runs}
    (log,) = tmp_path.glob("agent-*.log")
    told = {rate for rate, run in runs.items() if f"Stop: {run.id}" in log.read_text()}
    assert told == {1e-9}
    assert {run.state for run in runs.values()} == {"finished"}
    stopped = runs[1e-9]
    own = json.loads(
        (tmp_path / "outputs" / stopped.config["choices"]["group"] / stopped.id / "metrics.json").read_text()
    )["scores"]
    assert own["seconds"] < 40
    for name in ("generator_steps", "fid_200", "fid_200_best"):
        assert own[name] == stopped.summary[name]


@pytest.mark.server
def test_a_preempted_run_is_started_again_and_goes_on_where_it_was(server, tmp_path):
    """SIGUSR2, as a cluster sends it before it takes a machine away."""
    budget = {"trainer.max_steps": {"value": 3000}, "seed": {"values": [0]}}
    sweep = create_sweep(write_sweep(tmp_path, "test-preempt", budget, "trainer.val_check_interval=500"))
    process = agent(sweep, tmp_path)
    (history,) = wait_until(lambda: find_histories(tmp_path), "its first score")
    signalled(signal.SIGUSR2, tmp_path, "trainer.max_steps=3000")
    wait_until(
        lambda: "preempted at step" in "".join(log.read_text() for log in tmp_path.glob("agent-*.log")), "its end"
    )
    assert process.wait(300) == 0
    (run,) = wandb.Api().sweep(sweep).runs
    assert (run.state, run.id) == ("finished", history.parent.name)
    steps = [json.loads(line)["step"] for line in history.read_text().splitlines()]
    assert steps == [500, 1000, 1500, 2000, 2500, 3000]
    logged = [row["trainer/global_step"] for row in run.scan_history() if row.get("fid_200")]
    assert logged == steps
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1
