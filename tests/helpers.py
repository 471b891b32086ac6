"""What several test files use: paths, small settings, commands, waiting, W&B sweeps, a scores' protocol, networks."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor, nn

import train
from gan.data.datasets import MNIST5k
from gan.data.pixels import to_float
from gan.gan import GAN
from gan.models import (
    acgan,
    assignment,
    biggan,
    dcgan,
    infogan,
    infogan_code,
    mlp,
    projection,
    r3gan,
    reacgan,
    resnet,
    resnet_gp,
    sngan,
)
from gan.run.record import Run

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_steps=20", "trainer.val_check_interval=20"]
FEW_FAKES = ["metrics.n_fakes=200", "objective=fid_200"]

WIDTH = ["model.generator.width=8", "model.discriminator.width=8"]
NARROW = {  # overrides, for each model of conf/model
    "mlp": ["model.generator.hidden=[32]", "model.discriminator.hidden=[32]"],
    "assignment": ["model.generator.hidden=[16,32]", "model.discriminator.width=32"],
    "dcgan": WIDTH,
    "dcgan_projection": WIDTH,
    "infogan": [*WIDTH, "model.generator.hidden=32", "model.discriminator.hidden=32"],
    "infogan_code": [*WIDTH, "model.generator.hidden=32", "model.discriminator.hidden=32"],
    "sngan": WIDTH,
    "projection": WIDTH,
    "acgan": WIDTH,
    "reacgan": [*WIDTH, "model.discriminator.features=16"],
    "biggan": [*WIDTH, "model.generator.embedding=8"],
    "resnet_gp": WIDTH,
    "r3gan": WIDTH,
}
SHORT = ["trainer=cpu", "trainer.max_steps=20", "trainer.val_check_interval=10", *FEW_FAKES]
TINY = ["model=mlp", *NARROW["mlp"], *SHORT]  # a run of a second, scored twice

OF_WIDTH_8 = {"width": 8}
NETWORKS = {  # model: generator's module and arguments, discriminator's
    "mlp": (mlp, {"hidden": [16, 32]}, mlp, {"hidden": [32, 16]}),
    "assignment": (assignment, {"hidden": [16, 32]}, assignment, OF_WIDTH_8),
    "dcgan": (dcgan, OF_WIDTH_8, dcgan, OF_WIDTH_8),
    "dcgan_projection": (dcgan, OF_WIDTH_8, dcgan, OF_WIDTH_8 | {"projection": True}),
    "infogan": (infogan, OF_WIDTH_8 | {"hidden": 16}, infogan, OF_WIDTH_8 | {"hidden": 16}),
    "infogan_code": (infogan_code, OF_WIDTH_8 | {"hidden": 16}, infogan_code, OF_WIDTH_8 | {"hidden": 16}),
    "sngan": (resnet, OF_WIDTH_8, sngan, OF_WIDTH_8),
    "projection": (resnet, OF_WIDTH_8, projection, OF_WIDTH_8),
    "acgan": (resnet, OF_WIDTH_8, acgan, OF_WIDTH_8),
    "reacgan": (resnet, OF_WIDTH_8, reacgan, OF_WIDTH_8 | {"features": 16}),
    "biggan": (biggan, OF_WIDTH_8 | {"embedding": 8}, biggan, OF_WIDTH_8),
    "resnet_gp": (resnet, OF_WIDTH_8, resnet_gp, OF_WIDTH_8),
    "r3gan": (r3gan, OF_WIDTH_8, r3gan, OF_WIDTH_8),
}
NEED_CLASSES = {  # models that are refused without, and the same network for images without classes
    "projection": "sngan",
    "dcgan_projection": "dcgan",
    "acgan": "sngan",
    "reacgan": "sngan",
}
each_model = pytest.mark.parametrize("model", NETWORKS)

PROTOCOL = {"version": 1, "extractor": "classifier mnist", "extractor_sha256": "f" * 64, "resize": "28 px"}
PROTOCOL |= {"n_fakes": 10_000, "n_reals": 1000, "reference": "test", "reals_sha256": "a" * 64, "kid": "100 subsets"}
PROTOCOL |= {"neighbours": 5, "generator": "ema", "z_seed": 0}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Call a condition until its result is true, and return that; fail when the seconds are over."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


def write_run(folder: Path, run: Run) -> None:
    """Write a finished run's config and scores to its folder below `folder`."""
    path = folder / run.name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(run.config))
    parts = {"scores": run.scores, "floor": run.floor, "protocol": run.protocol, "best": {"scores": run.best}}
    (path / "metrics.json").write_text(json.dumps(parts))


def run_command(
    *words: str, script: str = "train.py", cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python SCRIPT WORDS` in a new interpreter, with variables added to the environment."""
    return subprocess.run(
        [sys.executable, ROOT / script, *words],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=900,
    )


def wandb_environment() -> dict[str, str]:
    """Return the environment of W&B's commands, which start the `python` that is first on PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "WANDB_ERROR_REPORTING": "false"}


def write_sweep(tmp_path: Path, project: str, parameters: dict, *fixed: str, **options: Any) -> Path:
    """Write a sweep file for runs of seconds beside links to the repository's scripts and configs."""
    for name in ("train.py", "conf", "scripts", "gan"):
        (tmp_path / name).symlink_to(ROOT / name)
    sweep = {"program": "scripts/sweep_run.py", "project": project, "method": "grid", "parameters": parameters}
    sweep["metric"] = {"name": "fid_200_best", "goal": "minimize"}
    sweep["command"] = ["${env}", "${interpreter}", "${program}", *TINY, *fixed, "${args_json}"]
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep | options))
    return path


def create_sweep(path: Path) -> str:
    """Create a sweep by W&B's own command and return its path, entity/project/id."""
    words = [Path(sys.executable).with_name("wandb"), "sweep", path]
    done = subprocess.run(words, capture_output=True, text=True, env=wandb_environment(), timeout=120)
    found = re.search(r"wandb agent (\S+)", done.stdout + done.stderr)
    assert found, done.stderr
    return found[1]


def trained(configure, monkeypatch, *overrides):
    """Train by train.py, in an empty folder but for a resume, and return the GAN that it made."""
    made = []
    initialize = GAN.__init__
    monkeypatch.setattr(GAN, "__init__", lambda self, *a, **k: (made.append(self), initialize(self, *a, **k))[1])
    cfg = configure("model.generator.width=8", "model.discriminator.width=8", *overrides)
    if not cfg.ckpt_path:
        shutil.rmtree(cfg.run_dir, ignore_errors=True)
    train.train(cfg)
    return made[0]


class Interrupt(BaseException):
    """Ends a run at any point, as a signal's exception would."""


def interrupted(configure, monkeypatch, *overrides, at: int):
    """Train by train.py up to a step, at whose end the run is cut short."""
    end = GAN.on_train_batch_end

    def stop(self, *args):
        if self.global_step == at:
            raise Interrupt
        return end(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "on_train_batch_end", stop)
        with pytest.raises(Interrupt):
            trained(configure, patch, *overrides)


def load_digits() -> MNIST5k:
    """Return mnist_5k, ready to be used."""
    digits = MNIST5k(channels=1, image_size=28, batch_size=64)
    digits.setup()
    return digits


class RealDigits(nn.Module):
    """A generator of real digits, which z picks out of the training split."""

    def __init__(self) -> None:
        super().__init__()
        self.z_dim = 2
        self.images = to_float(load_digits().splits["train"].images)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.images[labels * 400 + z.abs().sum(1).mul(1000).long() % 400]
