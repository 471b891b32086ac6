"""Configs composed as train.py composes them, with small budgets and folders that a test owns."""

import os
from collections.abc import Callable, Iterator
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
from tests.stub import KEY, Stub

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=20", "trainer.val_check_interval=20"]
FEW_FAKES = ["metrics.n_fakes=200", "objective=fid_200"]

WIDTH = ["model.generator.width=8", "model.discriminator.width=8"]
NARROW = {
    "mlp": ["model.generator.hidden=[32]", "model.discriminator.hidden=[32]"],
    "assignment": ["model.generator.hidden=[16,32]", "model.discriminator.width=32"],
    "dcgan": WIDTH,
    "infogan": [*WIDTH, "model.generator.hidden=32", "model.discriminator.hidden=32"],
    "sngan": WIDTH,
    "projection": WIDTH,
    "resnet_gp": WIDTH,
    "r3gan": WIDTH,
}

Compose = Callable[..., DictConfig]


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
