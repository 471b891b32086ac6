"""A study whose database, a real PostgreSQL, is away for a while."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest

from gan.search.storage import open_storage
from tests.helpers import ROOT, TINY, wait_until

OUTAGE_S = float(os.environ.get("OUTAGE_S", 6))
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
STUDY = [*TINY, "trainer.max_steps=40", "logger=none", "hydra.sweeper.heartbeat_s=1", "hydra.sweeper.confirm=0"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 or not PROGRAMS or not shutil.which("su"), reason="needs PostgreSQL, and root to start one"
    ),
]


@pytest.fixture
def database():
    """A server of this test's own: its URL, and what starts and stops it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def control(*words: str) -> None:
        done = subprocess.run(
            ["su", "postgres", "-c", " ".join([f"{PROGRAMS[0]}/{words[0]}", f"-D {folder}/db", *words[1:]])],
            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start() -> None:
        control("pg_ctl", f"-l {folder}/log -w -o '-p {port} -k {folder} -c listen_addresses=127.0.0.1'", "start")

    control("initdb", "--auth=trust")
    start()
    stop = ["pg_ctl", "-m immediate", "stop"]
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", start, lambda: control(*stop)
    subprocess.run(["su", "postgres", "-c", f"{PROGRAMS[0]}/pg_ctl -D {folder}/db -m immediate stop"], cwd="/")
    shutil.rmtree(folder)


def test_a_study_outlives_an_outage_of_its_database(database, tmp_path):
    """It begins in the first trial, and is longer than that trial's rest."""
    url, start, stop = database
    folder, log = tmp_path / "study", tmp_path / "log"
    words = ["hparams_search=random", *STUDY, f"hydra.sweep.dir={folder}", f"hydra.sweeper.storage={url}"]
    words += ["hydra.sweeper.n_trials=3", "hydra.sweeper.study_name=outage"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *words],
            stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=tmp_path,
        )  # fmt: skip

    def scored() -> bool:
        assert process.poll() is None, log.read_text()
        return bool(list(folder.glob("0-*/history.jsonl")))

    try:
        wait_until(scored, "a first score")
        stop()
        time.sleep(OUTAGE_S)
        start()
        assert process.wait(200) == 0, log.read_text()
    finally:
        process.kill()
    assert "Traceback" not in log.read_text()
    study = optuna.load_study(study_name="outage", storage=open_storage(url))
    kept = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(kept) == 3
