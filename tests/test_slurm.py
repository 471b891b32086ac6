"""Runs as jobs of a real Slurm: arrays, several processes a run, and runs that are interrupted and go on."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
import torch
import wandb
import yaml
from safetensors.torch import load_file

from gan.search.storage import open_storage
from tests.helpers import ROOT, TINY, create_sweep, wait_until, write_sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

SLURM = ["hydra.launcher.mem_gb=2", "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=0"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def start(folder: Path, *overrides: str, launcher: str = "slurm", **variables: str) -> subprocess.Popen:
    words = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, f"hydra.sweep.dir={folder}", *SLURM]
    words += [f"hydra/launcher={launcher}", *overrides]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, env=os.environ | ENVIRONMENT | variables, cwd=folder.parent, **options)


def finished(process: subprocess.Popen, timeout: float = 300) -> str:
    text, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, text
    return text


def job_of(run: Path) -> str:
    return yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text())["hydra"]["job"]["id"]


def scores(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())["scores"]


def wandb_ids(run: Path) -> list[str]:
    return [path.name.rsplit("-", 1)[1] for path in (run / "wandb").glob("offline-run-*")]


def in_queue(job: str) -> bool:
    return bool(subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True).stdout)


def tasks(job: str) -> list[int]:
    """Return the process ids of a job's tasks: python itself, not srun, which has started it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of processes that end meanwhile
            words = (path / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"python") and b"submitit.core._submit" in words:
                found += [int(path.name)] * (f"/.submitit/{job}" in os.readlink(path / "fd" / "1"))
    return found


def test_an_array_over_losses(tmp_path):
    folder = tmp_path / "sweep"
    text = finished(start(folder, "loss=bce,hinge,lsgan,rpgan"))
    runs = sorted(folder.glob("[0-9]*"))
    assert [run.name.split("-")[3] for run in runs] == ["bce", "hinge", "lsgan", "rpgan"]
    (array,) = {job_of(run).split("_")[0] for run in runs}
    assert f"Slurm jobs {array}_[0-3] continue without this command too" in text
    for run in runs:
        assert scores(run)["generator_steps"] == 20
        assert len(wandb_ids(run)) == 1
    for run, line in zip(runs, text.splitlines()[-4:], strict=True):
        assert line == f"run {run.name[0]}  loss={run.name.split('-')[3]}  {scores(run)['fid_200']:.2f}"
    wait_until(lambda: not in_queue(array), "Slurm's own end of the jobs")
    shutil.rmtree(runs[3])  # as if its job had yet to start
    words = [sys.executable, str(ROOT / "scripts" / "sweep_state.py"), str(folder), "--csv", str(tmp_path / "all.csv")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "3 of 4 have ended" in done.stdout
    with (tmp_path / "all.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in table] == ["finished"] * 3 + ["completed"]
    assert [float(row["score"]) for row in table[:3]] == [scores(run)["fid_200"] for run in runs[:3]]
    assert table[3]["job"] == f"{array}_3"


def test_a_run_interrupted_three_times_ends_as_one_left_alone(tmp_path):
    """Twice put back into the queue, once killed -9: the same weights bit for bit, one folder, one W&B run."""
    folder = tmp_path / "sweep"
    long = ["trainer.max_steps=4000", "trainer.val_check_interval=400"]
    process = start(folder, "seed=0", "logger.name=interrupted,alone", *long)
    wait_until(lambda: len(list(folder.glob("[01]-*/checkpoints/last.ckpt"))) == 2, "both runs' first scores")
    run, alone = sorted(folder.glob("[01]-*"))
    job = job_of(run)
    last, logs = run / "checkpoints" / "last.ckpt", folder / ".submitit" / job

    def starts() -> int:
        return sum(path.read_text().count("Starting with") for path in logs.glob("*_log.out"))

    for turn in range(3):
        known = starts()
        if turn < 2:
            subprocess.run(["scontrol", "requeue", job], check=True)
        else:
            (pid,) = tasks(job)
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda known=known: starts() == known + 1, "the next start")
        seen = last.stat().st_mtime_ns
        wait_until(lambda seen=seen: last.stat().st_mtime_ns > seen, "a step further")
    finished(process)
    assert scores(run)["generator_steps"] == 4000
    ours, theirs = (load_file(path / "generator.safetensors") for path in (run, alone))
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name
    assert len(set(wandb_ids(run))) == 1
    assert len(list(folder.glob("[0-9]*"))) == 2


def test_a_run_over_two_processes_on_one_machine_and_on_two(tmp_path):
    runs = []
    for where in ("trainer.devices=2", "trainer.num_nodes=2"):
        folder = tmp_path / where.replace("=", "-")
        finished(start(folder, where, "seed=0", launcher="slurm_ddp"))
        (run,) = folder.glob("[0-9]*")
        runs.append(run)
        assert scores(run)["images_seen"] == 2 * 64 * 20
        assert len(wandb_ids(run)) == 1
        assert len(list((run / ".hydra").iterdir())) == 3
        states = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["random_states"]
        assert len(states) == 2
        assert not torch.equal(states[0]["cpu"], states[1]["cpu"])
    one, two = (load_file(run / "generator.safetensors") for run in runs)
    for name in one:
        torch.testing.assert_close(one[name], two[name])


@pytest.mark.server
def test_agents_in_an_array_finish_a_sweep_though_one_is_requeued(tmp_path):
    """Each with a GPU of its own; the requeued one's run goes on where it was, in the same W&B run."""
    budget = {"trainer.max_steps": {"value": 3000}, "seed": {"values": [0, 1, 2]}}
    sweep = create_sweep(write_sweep(tmp_path, "test-slurm-agents", budget, "trainer.val_check_interval=500"))
    limits = ["cpus_per_task=1", "mem_gb=2", "gpus_per_node=1"]
    words = [sys.executable, str(ROOT / "scripts" / "slurm_agents.py"), sweep, "--agents", "2", *limits]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    job = re.match(r"Slurm job (\d+): 2 agents; logs in ", done.stdout)[1]
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    assert "TresPerNode=gres:gpu:1" in shown
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/history.jsonl"))) == 2, "both agents' first scores")
    subprocess.run(["scontrol", "requeue", f"{job}_0"], check=True)
    wait_until(lambda: not in_queue(job), "the end of the agents", 300)
    runs = list(wandb.Api().sweep(sweep).runs)
    logs = "".join(path.read_text() for path in tmp_path.glob("multirun/agents-*/*.log"))
    assert [run.state for run in runs] == ["finished"] * 3, logs
    assert "preempted at step" in logs
    for run in runs:
        assert run.summary["generator_steps"] == 3000
        history = tmp_path / "outputs" / run.config["choices"]["group"] / run.id / "history.jsonl"
        steps = [json.loads(line)["step"] for line in history.read_text().splitlines()]
        assert steps == [500, 1000, 1500, 2000, 2500, 3000]
        logged = [row["trainer/global_step"] for row in run.scan_history() if row.get("fid_200")]
        assert logged == steps[-len(logged) :]  # but for what W&B's process had yet to send when Slurm ended it


def test_a_study_on_two_workers_survives_what_happens_to_its_trials(tmp_path):
    """Of eight trials one is killed -9 again and again, one diverges, one is pruned; the others end with values."""
    mine, folder = tmp_path / "mine", tmp_path / "study"
    (mine / "conf" / "loss").mkdir(parents=True)
    (mine / "own_losses.py").write_text("import os\ndef dying(): os.kill(os.getpid(), 9)\n")
    (mine / "conf" / "loss" / "dying.yaml").write_text("_target_: own_losses.dying\n")
    folder.mkdir()
    made = optuna.create_study(study_name="random-mnist_5k-mlp", storage=open_storage(f"{folder}/study.log"))
    rates = [("bce", 1e-3), ("bce", 2e-3), ("dying", 1e-3), ("bce", 3e-3), ("bce", 4e-3), ("bce", 5e-3)]
    for loss, rate in [*rates, ("bce", 1e-9), ("bce", 1e30)]:
        made.enqueue_trial({"loss": loss, "optimizer.lr": rate})
    process = start(
        folder,
        "hparams_search=random",
        "loss=choice(bce,dying)",
        "optimizer.lr=tag(log, interval(1e-10, 1e31))",
        "penalty=none",
        "hydra.sweeper.params=null",
        f"hydra.sweeper.storage={folder}/study.log",
        f"hydra.searchpath=[file://{mine}/conf]",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.max_retries=1",
        "hydra.sweeper.confirm=0",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.pruner.n_startup_trials=3",
        "trainer.max_steps=100",
        "trainer.val_check_interval=50",
        "trainer.log_every_n_steps=10",
        "logger=none",
        PYTHONPATH=str(mine),
    )
    text = finished(process, 900)
    trials = optuna.load_study(study_name=made.study_name, storage=open_storage(f"{folder}/study.log")).trials
    assert len(trials) == 9, text  # the one that dies is tried twice
    states = {(t.params["loss"], t.params["optimizer.lr"]): t.state.name for t in trials}
    assert states.pop(("dying", 1e-3)) == "FAIL"
    assert states.pop(("bce", 1e30)) == "FAIL"
    assert states.pop(("bce", 1e-9)) == "PRUNED", text
    assert list(states.values()).count("COMPLETE") >= 3
    values = {t.number: t.value for t in trials if t.state.name == "COMPLETE"}
    for number, value in values.items():
        (run,) = folder.glob(f"{number}-*")
        assert scores(run)["fid_200"] == pytest.approx(value)
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(values.values())
    killed = [path.read_text().split() for path in (folder / ".submitit").glob("killed_*")]
    assert killed == [["137"] * 4] * 2  # of each try, a job that Slurm has started again three times
