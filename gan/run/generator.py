"""A run's generator, loaded from its folder to draw samples from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from gan.errors import InputError
from gan.run.allowlist import GENERATORS, require_trusted
from gan.run.checkpoints import read_checkpoint, require_same_layers, shapes
from gan.run.untrusted import load_plain
from gan.system.run_folder import GENERATOR


class LoadedGenerator(NamedTuple):
    """A generator ready to be called, the prior of its z, its classes and, from a checkpoint, its step.

    `num_classes` is 0 for an unconditional one; `classes` are their names, where the run knew any.
    """

    network: nn.Module
    prior: Callable[..., Tensor]
    num_classes: int
    step: int | None
    classes: Sequence[str] = ()


def load_checkpoint(generator: nn.Module, path: str | Path, network: str = "ema.module") -> int:
    """Load a checkpoint's generator, averaged ("ema.module") or raw ("generator"), and return its step."""
    checkpoint, prefix = read_checkpoint(path), f"{network}."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    require_same_layers(generator, shapes(state), path)
    generator.load_state_dict(state)
    return checkpoint["global_step"]


def load_generator(run_dir: Path, checkpoint: Path | None = None, *, raw: bool = False) -> LoadedGenerator:
    """Return a run's generator: the averaged one that it left, or a checkpoint's, averaged or `raw`.

    Raises InputError where the run has no such file.
    """
    path = checkpoint or run_dir / GENERATOR
    recipe = (run_dir / GENERATOR).with_suffix(".yaml")
    for needed in (path, recipe):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; a run leaves one in its folder")
    config = load_plain(recipe)
    require_trusted(OmegaConf.to_container(config), allowed=GENERATORS)
    network = instantiate(config.generator, _execution_whitelist_=GENERATORS)
    step = load_checkpoint(network, path, "generator" if raw else "ema.module") if checkpoint else None
    if not checkpoint:
        network.load_state_dict(load_file(path))
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    prior = instantiate(config.prior, _execution_whitelist_=GENERATORS)
    return LoadedGenerator(network, prior, config.generator.num_classes, step, list(config.get("classes", [])))
