"""Commands in processes that start in no time: forked from one that has imported all they need, which takes 8 s."""

import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.helpers import FEW_FAKES, NARROW, ROOT, SMALL

FAST = ["model=mlp", *NARROW["mlp"], "data.batch_size=16", "logger=none", *SMALL, *FEW_FAKES]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


def run_forked(
    *words: str,
    script: str = "train.py",
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
    seconds: int = 300,
    memory: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python SCRIPT WORDS` as `tests.helpers.run_command` does, in a fork; after the seconds SIGALRM ends it."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "stdout"), Path(folder, "stderr")
        process = start_forked(*logs, script, [*words], cwd, env or {}, seconds, memory)
        process.join()
        texts = (log.read_text(encoding="utf-8", errors="replace") if log.exists() else "" for log in logs)
        return subprocess.CompletedProcess([script, *words], process.exitcode, *texts)


def start_training(log: Path, *words: str, memory: int | None = None) -> BaseProcess:
    """Start a small train.py with these words, its output in a file, its address space limited to so many bytes."""
    return start_forked(log, log, "train.py", [*FAST, *words], None, {}, 0, memory)


def start_forked(
    stdout: Path,
    stderr: Path,
    script: str,
    words: list[str],
    cwd: Path | None,
    env: dict[str, str],
    seconds: int,
    memory: int | None,
) -> BaseProcess:
    """Start a script in a fork; 0 seconds are no limit."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | env
    options = str(stdout), str(stderr), str(ROOT / script), words, str(cwd or Path.cwd()), variables, seconds, memory
    process = CONTEXT.Process(target=become_command, args=options)
    process.start()
    return process


def become_command(
    stdout: str,
    stderr: str,
    script: str,
    words: list[str],
    cwd: str,
    variables: dict[str, str],
    seconds: int,
    memory: int | None,
) -> None:
    """Be the command `python SCRIPT WORDS`."""
    import torch

    for stream, log in ((1, stdout), (2, stderr)):
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.alarm(seconds)
    torch.set_num_threads(1)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
