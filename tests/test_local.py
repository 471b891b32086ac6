"""Runs of a multirun as processes of this machine."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT, TINY, run_command, wait_until
from tests.processes import run_forked

pytestmark = pytest.mark.slow

OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
OWN = """
import os, time
from pathlib import Path

def again():
    "In the second process only: the first ends as one that Submitit is to start again."
    mark = Path(os.environ["SWEEP"], "mark")
    if not mark.exists():
        mark.touch()
        raise SystemExit(144)
    from gan.losses import BCE
    return BCE()

def dying():
    os.kill(os.getpid(), 9)

def waiting():
    "Until three other runs have ended, at most two minutes."
    deadline = time.monotonic() + 120
    while len(list(Path(os.environ["SWEEP"]).glob("*/metrics.json"))) < 3:
        if time.monotonic() > deadline:
            raise TimeoutError("three other runs have not ended")
        time.sleep(0.2)
    from gan.losses import BCE
    return BCE()
"""
SLOW = f"""
import runpy, time
from submitit.core.utils import JobPaths

move = JobPaths.move_temporary_file
JobPaths.move_temporary_file = lambda *words: (time.sleep(3), move(*words))
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""


def start(
    tmp_path: Path, *overrides: str, launcher: str = "local", script: tuple[str, ...] = (str(ROOT / "train.py"),)
) -> subprocess.Popen:
    mine = tmp_path / "mine"
    (mine / "conf" / "loss").mkdir(parents=True)
    (mine / "own_losses.py").write_text(OWN)
    for name in ("again", "dying", "waiting"):
        (mine / "conf" / "loss" / f"{name}.yaml").write_text(f"_target_: own_losses.{name}\n")
    words = [sys.executable, *script, "-m", f"hydra/launcher={launcher}", *TINY, "logger=none"]
    words += [f"hydra.sweep.dir={tmp_path}/sweep", f"hydra.searchpath=[file://{mine}/conf]", *overrides]
    own = {"PYTHONPATH": str(mine), "SWEEP": f"{tmp_path}/sweep", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=os.environ | own, cwd=tmp_path, **OUTPUT)


def test_runs_go_two_at_a_time_and_one_that_dies_takes_no_other_with_it(tmp_path):
    """The first can only end when the second process has finished three others, one after another."""
    process = start(tmp_path, "loss=waiting,dying,bce,hinge,lsgan")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    ends = dict(line.removeprefix("run ").split("  ", 1) for line in text.splitlines() if line.startswith("run "))
    assert list(ends) == ["1", "2", "3", "4", "0"]
    assert ends.pop("1").startswith("loss=dying  ProcessDied process ")
    for number, end in ends.items():
        (run,) = (tmp_path / "sweep").glob(f"{number}-*/metrics.json")
        loss = run.parent.name.split("-")[3]
        assert end == f"loss={loss}  {json.loads(run.read_text())['scores']['fid_200']:.2f}"
    assert "4 of 5 have ended" in run_forked(f"{tmp_path}/sweep", script="scripts/sweep_state.py").stdout


def test_a_process_may_be_faster_than_the_command_that_starts_it(tmp_path):
    """Submitit hands a process its run when it knows the process's id; until then there is no folder of that name."""
    process = start(tmp_path, "seed=0", script=("-c", SLOW))
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 0, text
    assert len(list(tmp_path.glob("sweep/0-*/metrics.json"))) == 1


def test_a_process_that_ends_to_be_started_again_is(tmp_path):
    """As Submitit's does at its time limit, outside training, which takes its signals over."""
    process = start(tmp_path, "loss=again")
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 0, text
    assert len(list(tmp_path.glob("sweep/0-*/metrics.json"))) == 1


def test_a_run_does_not_use_the_wandb_service_of_the_command(tmp_path):
    env = {"WANDB_SERVICE": "3-1-unix-/nowhere/socket", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    words = ["-m", "hydra/launcher=local", *TINY, "logger=wandb", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = run_command(*words, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("sweep/0-*/metrics.json"))) == 1


@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_ctrl_c_ends_all_of_them_saved(tmp_path, launcher):
    process = start(tmp_path, "seed=0,1,2", "trainer.max_steps=1000000", launcher=launcher)
    running = {"basic": 1, "local": 2}[launcher]

    def saved() -> bool:
        assert process.poll() is None, process.stdout.read()
        return len(list(tmp_path.glob("sweep/[0-9]-*/checkpoints/last.ckpt"))) == running

    try:
        wait_until(saved, "the first checkpoints")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=30)
    finally:
        process.kill()  # its processes see that and end
    assert process.returncode == 1
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("stopped: ")
    assert len(list(tmp_path.glob("sweep/[0-9]-*"))) == running
    for job in tmp_path.glob("sweep/.submitit/*/*_submitted.pkl"):
        own = Path("/proc", job.name.partition("_")[0])
        wait_until(lambda own=own: not own.exists(), "the end of a run's process")
    for run in tmp_path.glob("sweep/[0-9]-*"):
        scored = json.loads((run / "history.jsonl").read_text().splitlines()[-1])["step"]
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] >= scored
