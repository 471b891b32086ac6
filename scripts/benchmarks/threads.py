"""Images per second of training by the number of threads: idle, next to other work, and when other work comes later."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from joblib import cpu_count
from rich.table import Table

from gan.system.console import plain_console
from gan.system.threads import CHOSEN

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
BEGIN, END = 100, 300  # steps between which images are counted
CHOICES = {  # by environment variables
    "one thread per core": {"OMP_NUM_THREADS": str(cpu_count())},
    "one per core, OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one per core, GOMP_SPINCOUNT=30000": {"GOMP_SPINCOUNT": "30000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "chosen by the load": {},
}
LOADS = {"idle": None, "busy": 0, "busy later": BEGIN}  # the step at which one busy process per core starts
BUSY = "while True: pass"


def measure(overrides: list[str], turns: int) -> None:
    """Train with each choice in turn, and with each load."""
    rates: dict[tuple[str, str], list[float]] = {}
    for turn in range(turns):
        for load, busy_from in LOADS.items():
            for choice, variables in CHOICES.items():
                rate = measure_rate(overrides, variables, busy_from)
                rates.setdefault((choice, load), []).append(rate)
                print(f"turn {turn + 1} of {turns}, {load}, {choice}: {rate:,.0f} images/s", flush=True)
    columns = ["idle", "one busy process per core", f"the same from step {BEGIN}"]
    title = f"images/s from step {BEGIN} to {END}, median of {turns} turns"
    table = Table("threads", *columns, title=title)
    for choice in CHOICES:
        table.add_row(choice, *(f"{statistics.median(rates[choice, load]):,.0f}" for load in LOADS))
    plain_console().print(table)


def measure_rate(overrides: list[str], variables: dict[str, str], busy_from: int | None) -> float:
    """Return the images per second of one run of train.py; the machine is busy from a step on, None: never."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN} | variables
    environment["PYTHONUNBUFFERED"] = "1"
    steps = [f"trainer.max_steps={END}", f"trainer.val_check_interval={BEGIN}"]
    with TemporaryDirectory() as folder, ExitStack() as load:
        words = [sys.executable, TRAIN, "trainer=cpu", "logger=none", "metrics=none", *overrides, *steps]
        if busy_from == 0:
            load.enter_context(keep_busy(cpu_count()))
        process = subprocess.Popen(
            [*words, f"hydra.run.dir={folder}"], stdout=subprocess.PIPE, text=True, env=environment
        )
        times = {}
        for line in process.stdout:
            if found := re.match(r"step (\d+): D ", line):  # printed after each evaluation
                times[int(found[1])] = time.perf_counter()
                if int(found[1]) == busy_from:
                    load.enter_context(keep_busy(cpu_count()))
        if process.wait():
            sys.exit(process.returncode)
        scores = json.loads(Path(folder, "metrics.json").read_text(encoding="utf-8"))["scores"]
    return scores["images_seen"] * (1 - BEGIN / END) / (times[END] - times[BEGIN])


@contextmanager
def keep_busy(n: int) -> Iterator[None]:
    """Run n busy processes meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
