"""The number of threads is chosen by the load, before torch is imported, and said."""

import os
import subprocess
import sys

import psutil
import pytest

from gan.run import threads
from tests.helpers import ROOT

NAMES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def machine(monkeypatch):
    """A machine of 4 cores, of which some are busy, for a process that has not imported torch."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr(threads, "count_visible_cores", lambda: 4)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in NAMES})
    return lambda n_busy: monkeypatch.setattr(threads, "count_busy_cores", lambda: n_busy)


@pytest.mark.parametrize(
    ("n_busy", "n_threads"), [(0.0, 4), (0.4, 4), (0.8, 3), (1.0, 3), (2.2, 2), (3.0, 1), (4.0, 1), (7.5, 1)]
)
def test_there_is_a_thread_for_each_free_core(machine, n_busy, n_threads):
    machine(n_busy)
    line = threads.choose_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (None if n_threads == 4 else str(n_threads))
    assert line == f"{n_threads} thread{'s' * (n_threads > 1)} on 4 cores, {n_busy:.1f} of them busy"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_chosen_stays(machine, name):
    machine(4.0)
    os.environ[name] = "3"
    assert threads.choose_threads() is None
    assert [variable for variable in NAMES if variable in os.environ] == [name]


def test_it_is_too_late_once_torch_is_there(machine, monkeypatch):
    machine(4.0)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert threads.choose_threads() is None


def test_busy_cores_are_counted(monkeypatch):
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    shares = [50.0 if i in own else 100.0 for i in range(psutil.cpu_count())]
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: shares)
    assert threads.count_busy_cores() == pytest.approx(0.5 * len(own))


def test_the_command_line_imports_no_torch_before_the_choice():
    code = "import sys, train; assert 'torch' not in sys.modules; assert 'wandb' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
