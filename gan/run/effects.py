"""What settings change: two configs are compared by what they build, not by what they say."""

import copy
import threading
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gan.errors import InputError
from gan.run.cell import ANNEALED, BUDGETS, flatten
from gan.run.command_line import get_key, list_replaced_keys

READ = (  # keys outside of any `_target_` that train.py reads
    *("seed", "n_critic", "pack", "fresh_fakes", "conditional", "gradient_clip_val", "weight_clip", "top_k"),
    *("ema_half_life_steps", "ema_ramp_up"),
    *(f"annealing.{name}.{option}" for name in ANNEALED for option in ("final", "until")),
    *("metrics.n_fakes", "metrics.reference", "objective", "second_objective", "ckpt_path"),
)

Compose = Callable[[list[str]], DictConfig]

RESOLVING = threading.Lock()  # HydraConfig is shared by all threads


def describe_build(cfg: DictConfig) -> dict[str, Any]:
    """Return what a composed config builds, as resolved values by dotted key.

    These are the arguments of every `_target_` and the keys that train.py reads. Left out are keys that only others
    interpolate (`optimizer.lr`), `choices`, and the run's folder. The config needs its hydra node, and is changed.
    Raises InputError for a value that can't be resolved.
    """
    choices = dict.fromkeys(cfg.get("choices") or {}, "")
    with open_dict(cfg), RESOLVING:
        cfg.hydra.runtime.output_dir, cfg.hydra.job.num, cfg.hydra.job.id = "run", 0, "0"
        cfg.choices = choices
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)
        try:
            task = copy.deepcopy(cfg)
            del task["hydra"]
            config = OmegaConf.to_container(task, resolve=True)
        except OmegaConfBaseException as error:
            raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
        finally:
            HydraConfig.instance().cfg = before
    typed = [*(cfg.hydra.overrides.task or [])]
    replaced = list_replaced_keys(typed) - {get_key(word) for word in typed}  # a recipe's budget by a typed length
    read = {
        name: value
        for name, value in flatten(config).items()
        if name in READ or (name in BUDGETS and value is not None and name not in replaced)
    }
    return flatten(select_targets(config)) | read


def select_targets(config: Any) -> Any:
    """Return the `_target_` nodes of a config, each at its place in the tree."""
    if not isinstance(config, dict) or "_target_" in config:
        return config
    parts = {name: select_targets(part) for name, part in config.items() if isinstance(part, dict)}
    return {name: part for name, part in parts.items() if part}


def has_key(cfg: DictConfig, key: str) -> bool:
    """Return whether a composed config has a group or a value of this name."""
    if key in cfg.hydra.runtime.choices:
        return True
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, above) if above else cfg
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118, `in node` is False for a missing value (???)


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the keys whose values differ, or that only one of two configs has."""
    return {
        name for name in one.keys() | other.keys() if (name in one, one.get(name)) != (name in other, other.get(name))
    }


def to_input_error(error: HydraException) -> InputError:
    """Return Hydra's error about an override as an InputError of one line."""
    return InputError(" ".join(f"{error} {error.__cause__ or ''}".split()))


def dead_key_error(name: str) -> InputError:
    """Return the error for a searched or swept key that changes nothing."""
    return InputError(
        f"{name}: changes nothing: no part of the run uses its value, or an experiment or another override sets the "
        "value that is used; leave it out, or vary the key of the part itself (--cfg job shows all keys)"
    )
