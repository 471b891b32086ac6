"""Idle time of two workers on trials of different lengths, compared with the workers of the stock sweeper."""

import random
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from rich.table import Table

from gan.system.console import plain_console

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
N_JOBS, N_TRIALS = 2, 32
RUN = ["model=mlp", "trainer=cpu", "logger=none", "metrics.n_fakes=200", "objective=fid_200"]
RUN += ["trainer.val_check_interval=100000", "hydra/launcher=local", "trainer.max_steps=range(1,100000)"]
SWEEPERS = {
    "hydra/sweeper=study": ["hydra/sweeper=study", "hydra.sweeper.confirm=0", "callbacks=search"],
    "hydra/sweeper=optuna, batches": ["hydra/sweeper=optuna"],
}


def measure(overrides: list[str], turns: int) -> None:
    """Run the same trials, from 50 to 1,500 steps, under both sweepers in turn."""
    idle: dict[str, list[float]] = {name: [] for name in SWEEPERS}
    for turn in range(turns):
        for name, words in SWEEPERS.items():
            with TemporaryDirectory() as folder:
                idle[name].append(measure_idle_share(Path(folder), [*RUN, *words, *overrides], random.Random(turn)))
            print(f"turn {turn + 1} of {turns}: {name}: {idle[name][-1]:.1%} idle", flush=True)
    title = f"{N_JOBS} workers, {N_TRIALS} trials of 50 to 1,500 steps, {turns} turns"
    table = Table("sweeper", "idle, median", "least", "most", title=title)
    for name, shares in idle.items():
        table.add_row(name, *(f"{share:.1%}" for share in (statistics.median(shares), min(shares), max(shares))))
    plain_console().print(table)


def measure_idle_share(folder: Path, words: list[str], chance: random.Random) -> float:
    """Run a study of trials of random length; return the share of time in which workers had no run."""
    storage = f"sqlite:///{folder}/study.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="lengths", storage=storage)
    for _ in range(N_TRIALS):
        study.enqueue_trial({"trainer.max_steps": round(50 * 30 ** chance.random())})
    sweep = [f"hydra.sweeper.{name}" for name in (f"storage={storage}", "study_name=lengths", f"n_jobs={N_JOBS}")]
    sweep += [f"hydra.sweeper.n_trials={N_TRIALS}", f"hydra.sweep.dir={folder}"]
    subprocess.run([sys.executable, TRAIN, "-m", *words, *sweep], check=True, stdout=subprocess.DEVNULL)
    starts = [path.stat().st_mtime for path in folder.glob("*/.hydra/hydra.yaml")]
    ends = [path.stat().st_mtime for path in folder.glob("*/metrics.json")]
    return 1 - (sum(ends) - sum(starts)) / (N_JOBS * (max(ends) - min(starts)))
