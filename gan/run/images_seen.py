"""The real images that D sees in a step, and by a recipe's own settings; without torch, which takes long to import."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from gan.errors import InputError
from gan.run.allowlist import ROOT
from gan.run.command_line import get_key


def count_images(config: Mapping[str, Any]) -> int:
    """Return the real images that D sees in a step of a run, in all processes."""
    return config["data"]["batch_size"] * config["n_critic"] * count_processes(config["trainer"])


def count_processes(trainer: Mapping[str, Any]) -> int:
    """Return the number of processes of a run; raise InputError where only Lightning can find it out."""
    devices = trainer["devices"]
    n_devices = devices if isinstance(devices, int | str) or devices is None else len(devices)
    if not isinstance(n_devices, int) or n_devices < 1:
        raise InputError(f"trainer.devices={devices}: must be a whole number, 1 or more, for a run with a budget")
    return n_devices * trainer.get("num_nodes", 1)


def count_recipe_images() -> int | None:
    """Return the real images that D sees by the chosen experiment's own settings, or by the defaults without one.

    None for one that trains for epochs, which hold equally many images with any settings, or for a budget of FLOPs.
    """
    hydra = HydraConfig.get()
    sources = tuple(word for word in hydra.overrides.hydra if get_key(word) == "hydra.searchpath")
    recipe = hydra.runtime.choices.get("experiment")
    return count_images_of((*sources, f"experiment={recipe}") if recipe else sources)


@cache
def count_images_of(words: tuple[str, ...]) -> int | None:
    """Return the real images that D sees in a run with these overrides alone, None as `count_recipe_images`."""
    is_ready = GlobalHydra.instance().is_initialized()  # not in a process that a launcher has started
    with nullcontext() if is_ready else initialize_config_dir(str(ROOT / "conf")):
        cfg = compose("train", [*words])
    steps = cfg.trainer.max_steps
    return cfg.budget.images if cfg.budget.images or cfg.budget.flops or steps < 1 else steps * count_images(cfg)
