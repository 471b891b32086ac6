"""Images per second of training by the number of threads, on an idle machine and with one busy process per core."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from joblib import cpu_count
from rich.table import Table

from gan.system.console import plain_console

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
RUN = ["trainer=cpu", "logger=none", "metrics=none", "trainer.max_steps=300", "trainer.val_check_interval=100000"]
CHOICES = {  # by environment variables
    "one thread per core": {"OMP_NUM_THREADS": str(cpu_count())},
    "one per core, OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "chosen by the load": {},
}
BUSY = "while True: pass"


def measure(overrides: list[str], turns: int) -> None:
    """Train with each choice in turn, on an idle machine and on a busy one."""
    rates: dict[tuple[str, str], list[float]] = {}
    for turn in range(turns):
        for load, n_busy in {"idle": 0, "busy": cpu_count()}.items():
            with keep_busy(n_busy):
                for choice, variables in CHOICES.items():
                    rate = measure_rate(overrides, variables)
                    rates.setdefault((choice, load), []).append(rate)
                    print(f"turn {turn + 1} of {turns}, {load}, {choice}: {rate:,.0f} images/s", flush=True)
    table = Table("threads", "idle", "one busy process per core", title=f"images/s, median of {turns} turns")
    for choice in CHOICES:
        table.add_row(choice, *(f"{statistics.median(rates[choice, load]):,.0f}" for load in ("idle", "busy")))
    plain_console().print(table)


def measure_rate(overrides: list[str], variables: dict[str, str]) -> float:
    """Return the images per second of training in one run of train.py."""
    chosen = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in chosen} | variables
    with TemporaryDirectory() as folder:
        words = [sys.executable, TRAIN, *RUN, *overrides, f"hydra.run.dir={folder}"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
        scores = json.loads(Path(folder, "metrics.json").read_text(encoding="utf-8"))["scores"]
    return scores["images_seen"] / scores["seconds"]


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
