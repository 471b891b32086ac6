"""train.py starts on a system without the signals and file locks of Linux and macOS, as Windows."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

WITHOUT = """
import runpy, signal, sys
sys.modules["fcntl"] = None
del signal.SIGUSR1, signal.SIGUSR2
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_without(*words: str) -> subprocess.CompletedProcess:
    script = f"import sys; sys.argv = {[str(ROOT / 'train.py'), *words]}{WITHOUT}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("words", "text"), [(["--help"], "gan"), (["--cfg", "job"], "generator:")])
def test_a_command_starts_without_fcntl_and_user_signals(words, text):
    done = run_without(*words)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout


def test_the_local_launcher_is_refused_where_processes_cannot_be_watched(tmp_path):
    done = run_without("-m", "hydra/launcher=local", "seed=0,1", "logger=none", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: hydra/launcher=local: needs Linux or macOS")
