"""Other systems: without the signals and file locks of Linux and macOS, as Windows; with a GPU that is not used."""

import subprocess
import sys
import warnings

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.trainer import setup

from gan.system.accelerators import describe_unused_gpu, resolve_accelerator
from gan.system.console import quiet
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


@pytest.mark.parametrize("library", [torch.cuda, torch.backends.mps])
def test_a_run_on_the_cpu_says_that_a_gpu_is_idle(monkeypatch, library):
    assert describe_unused_gpu("cpu") is None or torch.cuda.is_available() or torch.backends.mps.is_available()
    monkeypatch.setattr(library, "is_available", lambda: True)
    assert "trainer=gpu" in describe_unused_gpu("cpu")
    assert describe_unused_gpu("auto") is describe_unused_gpu("gpu") is None


@pytest.mark.parametrize("library", [torch.cuda, torch.backends.mps])
def test_auto_becomes_the_accelerator_that_there_is(monkeypatch, library):
    for each in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(each, "is_available", lambda: False)
    assert [resolve_accelerator(name) for name in ("auto", "cpu", "tpu")] == ["cpu", "cpu", "tpu"]
    monkeypatch.setattr(library, "is_available", lambda: True)
    assert [resolve_accelerator(name) for name in ("auto", "cpu")] == ["gpu", "cpu"]


def test_lightning_does_not_say_it_as_well(monkeypatch):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        setup._log_device_info(trainer)
        assert any("GPU available" in str(warning.message) for warning in shown)
        shown.clear()
        quiet()
        setup._log_device_info(trainer)
    assert not shown
