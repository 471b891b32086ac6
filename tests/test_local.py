"""Runs of a multirun as processes of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from gan.errors import ProcessDied
from gan.launch.local import PRELOADED, MachineLauncher
from tests.helpers import ROOT, TINY, run_command, wait_until
from tests.processes import run_forked

pytestmark = pytest.mark.slow

OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
OWN = """
import os, time
from pathlib import Path

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


def start(tmp_path: Path, *overrides: str, launcher: str = "local") -> subprocess.Popen:
    mine = tmp_path / "mine"
    (mine / "conf" / "loss").mkdir(parents=True)
    (mine / "own_losses.py").write_text(OWN)
    for name in ("dying", "waiting"):
        (mine / "conf" / "loss" / f"{name}.yaml").write_text(f"_target_: own_losses.{name}\n")
    words = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra/launcher={launcher}", *TINY, "logger=none"]
    words += [f"hydra.sweep.dir={tmp_path}/sweep", f"hydra.searchpath=[file://{mine}/conf]", *overrides]
    own = {"PYTHONPATH": str(mine), "SWEEP": f"{tmp_path}/sweep", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=os.environ | own, cwd=tmp_path, start_new_session=True, **OUTPUT)


def list_processes(tmp_path: Path) -> list[psutil.Process]:
    """Return the processes of a multirun that still live."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SWEEP") == f"{tmp_path}/sweep" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def hears_ctrl_c(process: psutil.Process) -> bool:
    """Return whether a SIGINT would reach a process: it neither blocks nor ignores it."""
    masks = re.findall(r"Sig(?:Blk|Ign):\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
    return not any(int(mask, 16) & 1 << signal.SIGINT - 1 for mask in masks)


def test_runs_go_two_at_a_time_and_one_that_dies_takes_no_other_with_it(tmp_path):
    """The first can only end when the second process has finished three others, one after another."""
    process = start(tmp_path, "loss=waiting,dying,bce,hinge,lsgan")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    ends = dict(line.removeprefix("run ").split("  ", 1) for line in text.splitlines() if line.startswith("run "))
    assert list(ends) == ["1", "2", "3", "4", "0"]
    logs = tmp_path / "sweep" / ".logs"
    assert re.fullmatch(rf"loss=dying  ProcessDied process \d+ died; see {logs}/1.log", ends.pop("1"))
    assert "\nprotocol    classifier mnist" in (logs / "0.log").read_text()
    for number, end in ends.items():
        (run,) = (tmp_path / "sweep").glob(f"{number}-*/metrics.json")
        loss = run.parent.name.split("-")[3]
        assert end == f"loss={loss}  {json.loads(run.read_text())['scores']['fid_200']:.2f}"
    assert "4 of 5 have ended" in run_forked(f"{tmp_path}/sweep", script="scripts/sweep_state.py").stdout


def test_the_process_that_runs_are_forks_of_has_no_thread_and_no_gpu():
    """A fork has no copies of other threads, and can't use a GPU that the process before it uses."""
    code = f"import os, {', '.join(PRELOADED)}, torch\nprint(os.listdir('/proc/self/task') == [str(os.getpid())])\n"
    code += "print(torch.cuda.is_initialized())"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_runs_use_the_code_of_their_command_whatever_the_current_folder_holds(tmp_path):
    for name in ("gan", "wandb"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the code of the current folder')")
    process = start(tmp_path, "seed=0")
    text, _ = process.communicate(timeout=100)
    assert process.returncode == 0, text


def test_a_folder_too_long_for_a_socket_is_one_line(tmp_path):
    place = tmp_path / ("long" * 25)
    place.mkdir()
    words = ["-m", "hydra/launcher=local", *TINY, "logger=none", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = run_command(*words, env={"TMPDIR": str(place)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: TMPDIR={place}: hydra/launcher=local needs a socket there: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_process_that_does_not_start_is_a_failure_of_its_run(monkeypatch, tmp_path):
    launcher = MachineLauncher(n_jobs=1, log_folder=str(tmp_path))
    launcher.setup(hydra_context=None, task_function=None, config=None)

    def refuse(*_):
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(launcher.context.Process, "start", refuse)
    (job,) = launcher.launch([["seed=0"]], 0)
    with pytest.raises(ProcessDied, match="its process did not start: BlockingIOError: Resource temporarily unavail"):
        _ = job.return_value


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
        assert [found.pid for found in list_processes(tmp_path) if hears_ctrl_c(found)] == [process.pid]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        text, _ = process.communicate(timeout=30)
    finally:
        process.kill()  # its processes see that and end
    assert process.returncode == 1
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("stopped: ")
    assert len(list(tmp_path.glob("sweep/[0-9]-*"))) == running
    wait_until(lambda: not list_processes(tmp_path), "the end of its processes")
    for run in tmp_path.glob("sweep/[0-9]-*"):
        scored = json.loads((run / "history.jsonl").read_text().splitlines()[-1])["step"]
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] >= scored
