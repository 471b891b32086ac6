"""Studies of tiny runs for tests: their commands, and what their databases hold."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import optuna

from tests.helpers import ROOT, TINY
from tests.processes import run_forked

STUDY = [*TINY, "logger=none", "hydra.sweeper.heartbeat_s=1", "hydra.sweeper.confirm=0"]


def start(folder: Path, *overrides: str, search="random", threads="1", **variables: str) -> subprocess.Popen:
    words = [sys.executable, str(ROOT / "train.py"), f"hparams_search={search}", *STUDY, f"hydra.sweep.dir={folder}"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | variables
    environment |= {"OMP_NUM_THREADS": threads} if threads else {}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen([*words, *overrides], env=environment, cwd=folder.parent, **options)


def run_search(folder: Path, *overrides: str) -> tuple[int, str]:
    """Run a search that ends before its first trial; return its status and output."""
    done = run_forked("hparams_search=random", *STUDY, f"hydra.sweep.dir={folder}", *overrides, cwd=folder.parent)
    return done.returncode, done.stdout + done.stderr


def study(folder: Path) -> optuna.Study:
    (name,) = optuna.get_all_study_names(f"sqlite:///{folder}/study.db")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/study.db")


def numbers(folder: Path) -> int:
    """Return how many trials there are, without making the tables in which they will be."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{folder}/study.db?mode=ro", uri=True)) as db,
    ):
        return db.execute("SELECT count(*) FROM trials").fetchone()[0]
    return 0
