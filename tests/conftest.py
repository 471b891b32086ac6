"""Fixtures: configs as train.py composes them, W&B without and with a server; what the markers need."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: no run's threads follow the load

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import matplotlib.font_manager  # noqa: F401, reports the cache that it builds, so it is built before any command runs
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, open_dict

import gan  # noqa: F401, the configs use its resolver
from gan.run.allowlist import TARGETS
from tests.helpers import FEW_FAKES, ROOT, SMALL
from tests.stub import KEY, SCRIPT, Stub

Compose = Callable[..., DictConfig]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names what this machine lacks."""
    if item.get_closest_marker("server") and "WANDB_BASE_URL" not in os.environ:
        pytest.skip("needs a W&B server at WANDB_BASE_URL")
    if item.get_closest_marker("slurm") and not has_slurm():
        pytest.skip("needs a Slurm cluster that sbatch can reach")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no worker is left alone with them in the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("slurm") or item.get_closest_marker("server")))


@cache
def has_slurm() -> bool:
    return bool(shutil.which("sbatch")) and subprocess.run(["sinfo"], capture_output=True).returncode == 0


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Compose]:
    """Compose train.yaml with overrides for 20 steps scored by 200 fakes; the run's folder is the test's own."""

    def composed(*overrides: str) -> DictConfig:
        own = ["logger=none", f"run_dir={tmp_path}/run", *SMALL]
        own += [] if any(override.startswith("metrics=") for override in overrides) else FEW_FAKES
        cfg = compose("train", [*own, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf")), execution_whitelist(TARGETS):
        yield composed


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No account of W&B: an empty HOME and no WANDB_* variables."""
    import wandb

    wandb.teardown()  # first, since it takes its own variable out, which must not come back
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    wandb.teardown()


@pytest.fixture
def stub(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A stand-in W&B server of the test's own, with the account of whoever asks."""
    if not SCRIPT.is_file():
        pytest.skip("needs the stand-in W&B server")
    server = Stub()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield server
    server.kill()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Statistics of real images are shared by the tests of a session, and by nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
