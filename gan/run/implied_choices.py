"""Settings that a choice of the command line brings with it: `loss=wgan` weight clipping, `data=folder` metrics."""

from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gan.run.command_line import get_key
from gan.run.config import format_value

CONF = Path(__file__).resolve().parents[2] / "conf"
RECIPES = ("experiment", "hparams_search")  # set many things at once, which is what they are chosen for
PATHS = ("run_dir", "data_dir", "cache_dir")


def describe_implied_choices(cfg: DictConfig) -> str | None:
    """Return a line such as "loss=wgan brings n_critic=5, weight_clip=0.01", None for none.

    It names config groups and top-level values of the resolved `cfg` that differ from the defaults because of a word of
    the command line, and that no other word sets. Where several words bring the same setting, the last one is named.
    """
    hydra = HydraConfig.get()
    words, choices = hydra.overrides.task, hydra.runtime.choices
    keys, actual = {get_key(word) for word in words}, list_settings(cfg, choices)
    sources = tuple(word for word in hydra.overrides.hydra if get_key(word) == "hydra.searchpath")
    brought_by: dict[str, str] = {}
    is_ready = GlobalHydra.instance().is_initialized()  # not in a process that a launcher has started
    with nullcontext() if is_ready else initialize_config_dir(str(CONF)):
        default = compose_settings(sources)
        changed = [key for key, value in actual.items() if key not in keys and value != default.get(key)]
        groups = {key for key in default if (CONF / key).is_dir()} | set(choices)
        for word in words if changed else ():
            if get_key(word) not in groups or get_key(word) in RECIPES:
                continue
            with suppress(HydraException):  # of a word that needs another one beside it
                alone = compose_settings((*sources, word))
                brought_by |= {key: word for key in changed if key in alone and alone[key] == actual[key]}
    settings = {word: [key for key in brought_by if brought_by[key] == word] for word in words}
    lines = [
        f"{word} brings {', '.join(f'{key}={format_value(actual[key])}' for key in brought)}"
        for word, brought in settings.items()
        if brought
    ]
    return "; ".join(lines) or None


@cache
def compose_settings(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of the config that words alone amount to, see `list_settings`."""
    cfg = compose("train", list(words), return_hydra_config=True)
    return list_settings(cfg, cfg.hydra.runtime.choices)


def list_settings(cfg: DictConfig, choices: dict[str, Any]) -> dict[str, Any]:
    """Return the chosen options of config groups, and the top-level values of a config, paths left out."""
    values = {key: cfg[key] for key in cfg if key not in PATHS and not OmegaConf.is_missing(cfg, key)}
    options = {key: option for key, option in choices.items() if not key.startswith("hydra/")}
    return options | {key: value for key, value in values.items() if not OmegaConf.is_config(value)}
