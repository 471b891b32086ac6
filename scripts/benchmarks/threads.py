"""Images per second of training, idle and beside a busy process for each core, by the number of threads."""

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
    "one thread a core": {"OMP_NUM_THREADS": str(cpu_count())},
    "one a core, OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "chosen by the load": {},
}
BUSY = "while True: pass"


def measure(overrides: list[str], turns: int) -> None:
    """Train with each choice in turn, on an idle machine and on a busy one."""
    rates: dict[tuple[str, str], list[float]] = {}
    for turn in range(turns):
        for load, n_busy in {"idle": 0, "busy": cpu_count()}.items():
            with busy_processes(n_busy):
                for choice, variables in CHOICES.items():
                    rate = images_per_second(overrides, variables)
                    rates.setdefault((choice, load), []).append(rate)
                    print(f"turn {turn + 1} of {turns}, {load}, {choice}: {rate:,.0f} images/s", flush=True)
    table = Table("threads", "idle", "one busy process a core", title=f"images/s, median of {turns} turns")
    for choice in CHOICES:
        table.add_row(choice, *(f"{statistics.median(rates[choice, load]):,.0f}" for load in ("idle", "busy")))
    plain_console().print(table)


def images_per_second(overrides: list[str], variables: dict[str, str]) -> float:
    """Return the images that one run of train.py sees in a second of its training."""
    chosen = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in chosen} | variables
    with TemporaryDirectory() as folder:
        words = [sys.executable, TRAIN, *RUN, *overrides, f"hydra.run.dir={folder}"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
        scores = json.loads(Path(folder, "metrics.json").read_text(encoding="utf-8"))["scores"]
    return scores["images_seen"] / scores["seconds"]


@contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """Keep n processes busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
