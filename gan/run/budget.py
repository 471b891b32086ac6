"""A run's budget: the steps in which D sees a number of real images, or that take a number of FLOPs."""

import math
from collections.abc import Container
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gan.callbacks.cost import count_step_flops
from gan.errors import InputError
from gan.run.cell import LENGTHS
from gan.run.command_line import get_key, require_one_length
from gan.run.images_seen import count_images, count_processes

UNITS = {"images": "images", "flops": "FLOP"}  # budget.images: real images seen by D; budget.flops: of both players


def apply_budget(config: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved config with the `trainer.max_steps` that its budget allows; unchanged without a budget.

    A budget replaces the length that a recipe sets, and evaluations stay at the same shares of it, unless steps between
    them are on the command line. A length on the command line replaces the budget of a recipe.
    Raises InputError for a budget beside another length on the command line, and for one below one step.
    """
    typed = {get_key(word) for word in HydraConfig.get().overrides.task} if HydraConfig.initialized() else set()
    budget = choose_budget(config, typed)
    config = config | {"budget": dict.fromkeys(UNITS) | budget}
    for unit, amount in budget.items():
        per_step = max(1, count_images(config)) if unit == "images" else count_flops(config)
        steps = int(amount // per_step)
        if steps < 1:
            raise InputError(
                f"budget.{unit}={amount}: must be at least {per_step}, the {UNITS[unit]} of one step of this run"
            )
        interval = scale_interval(config["trainer"], steps, typed)
        length = {"max_steps": steps, "max_epochs": -1, "val_check_interval": interval}
        config = config | {"trainer": config["trainer"] | length}
    return config


def describe_budget(cfg: DictConfig) -> str | None:
    """Return a line such as "budget of 230,400 images: 3,600 steps", None for a run without a budget."""
    for unit, amount in cfg.budget.items():
        if amount is not None:
            shown = f"{amount:,}" if unit == "images" else f"{amount:.4g}"
            return f"budget of {shown} {UNITS[unit]}: {cfg.trainer.max_steps:,} steps"
    return None


def choose_budget(config: dict[str, Any], typed: Container[str]) -> dict[str, int]:
    """Return the budget that acts as {unit: amount}, empty for none: keys on the command line replace a recipe's."""
    if not isinstance(config["budget"], dict) or not config["budget"].keys() <= UNITS.keys():
        raise InputError(f"budget={config['budget']}: must be given as budget.images=N or budget.flops=N")
    budget = {unit: amount for unit, amount in config["budget"].items() if amount is not None}
    on_line = {unit: budget[unit] for unit in budget if f"budget.{unit}" in typed or "budget" in typed}
    lengths = {key: config["trainer"].get(key.partition(".")[2]) for key in LENGTHS if key in typed}
    lengths = {key: value for key, value in lengths.items() if value not in (None, -1)}
    if lengths and not on_line:
        return {}
    budget = on_line or budget
    require_one_length({f"budget.{unit}": amount for unit, amount in budget.items()}, lengths)
    return budget


def count_flops(config: dict[str, Any]) -> int:
    """Return the FLOPs of a step, in all processes, counted on networks that are built for it; at least 1."""
    from gan.run.build import build_data, build_gan, network_shape

    n_processes = count_processes(config["trainer"])
    cfg = OmegaConf.create(config | {"trainer": config["trainer"] | {"compile": False}})
    with torch.random.fork_rng():
        shape = network_shape(cfg, build_data(cfg))
        mixed = cfg.trainer.precision == "bf16-mixed"
        per_process = count_step_flops(build_gan(cfg, shape), batch_size=cfg.data.batch_size, mixed=mixed, **shape)
    return max(1, per_process * n_processes)


def scale_interval(trainer: dict[str, Any], steps: int, typed: Container[str]) -> int | float:
    """Return the steps between evaluations: the same share of `steps` as of the steps that a budget replaces.

    A fraction is itself the share; steps on the command line stay as they are.
    """
    interval, before = trainer["val_check_interval"], trainer["max_steps"]
    if isinstance(interval, float) and 0 < interval <= 1 and trainer.get("check_val_every_n_epoch") is None:
        return math.ceil(steps * interval)
    if "trainer.val_check_interval" in typed or not isinstance(interval, int):
        return interval
    return min(steps, -(-steps * interval // before) if before > 0 else interval)
