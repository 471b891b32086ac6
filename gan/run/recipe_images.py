"""The images that D sees by a recipe's own settings: the budget of a search over other settings of it."""

from contextlib import nullcontext
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from gan.run.budget import count_processes
from gan.run.command_line import get_key
from gan.run.implied_choices import CONF


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
    with nullcontext() if is_ready else initialize_config_dir(str(CONF)):
        cfg = compose("train", [*words])
    steps = cfg.trainer.max_steps
    if cfg.budget.images or cfg.budget.flops or steps < 1:
        return cfg.budget.images
    n_processes = count_processes({"devices": cfg.trainer.devices, "num_nodes": cfg.trainer.num_nodes})
    return steps * cfg.data.batch_size * cfg.n_critic * n_processes
