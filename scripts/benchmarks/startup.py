"""Seconds from a command to the end of the first training step, against those of importing torch and Lightning."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.table import Table

from gan.system.console import plain_console

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
IMPORT = "import torch, pytorch_lightning"
RUNS = {"train.py": [], "train.py logger=none metrics=none": ["logger=none", "metrics=none", "objective=null"]}
EARLIEST_SAVE = "callbacks.last.every_n_steps=1"  # a run's first step ends where its first checkpoint begins
POLL_S = 0.005

Times = tuple[float, float]  # seconds, and seconds of CPU time


def measure(overrides: list[str], turns: int) -> None:
    """Start each command in turn, after one that fills the caches, and print how their times compare."""
    imports: list[Times] = []
    times: dict[str, list[Times]] = {name: [] for name in RUNS}
    for words in RUNS.values():
        time_first_step([*words, *overrides])
    for turn in range(turns):
        imports.append(time_import())
        for name, words in RUNS.items():
            times[name].append(time_first_step([*words, *overrides]))
        shown = ", ".join(f"{found[-1][0]:.2f} s" for found in (imports, *times.values()))
        print(f"turn {turn + 1} of {turns}: {shown}", flush=True)
    title = f"to the end of the first step, medians of {turns} turns"
    table = Table("command", "times the import", "CPU time", "seconds", title=title)
    for name, found in times.items():
        ratios = [[each / of for each, of in zip(*pair, strict=True)] for pair in zip(found, imports, strict=True)]
        table.add_row(
            name, *(f"{statistics.median(column):.2f}" for column in zip(*ratios, strict=True)), median(found)
        )
    table.add_row(f'python -c "{IMPORT}"', "1.00", "1.00", median(imports))
    plain_console().print(table)


def median(times: list[Times]) -> str:
    """Return the median of the seconds, as text."""
    return f"{statistics.median(seconds for seconds, _ in times):.2f}"


def time_import() -> Times:
    """Return the times of an interpreter that imports torch and Lightning, and ends."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORT], check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, spent


def time_first_step(words: list[str]) -> Times:
    """Return the times from the start of train.py to the end of its first step, and end it then."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, TRAIN, *words, EARLIEST_SAVE, f"hydra.run.dir={folder}"]
        started = time.perf_counter()
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            while not Path(folder, "checkpoints").exists():
                if process.poll() is not None:
                    sys.exit(f"error: {process.stderr.read().strip()}")
                time.sleep(POLL_S)
            seconds, spent = time.perf_counter() - started, process.cpu_times()
        finally:
            for each in [process, *process.children(recursive=True)]:
                each.kill()
            process.wait()
    return seconds, spent.user + spent.system
