"""What a config builds, so that two configs can be compared by what they train."""

import copy
import threading
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gan.errors import InputError
from gan.run.cell import flatten

READ = (  # keys that are no constructor's argument in the config, but are read by train.py
    *("seed", "n_critic", "conditional", "ema_half_life_steps", "ema_ramp_up", "gradient_clip_val", "weight_clip"),
    *("metrics.n_fakes", "metrics.reference", "objective", "second_objective", "ckpt_path"),
)

Compose = Callable[[list[str]], DictConfig]

RESOLVING = threading.Lock()  # Hydra's own config is every thread's


def describe_build(cfg: DictConfig) -> dict[str, Any]:
    """Return what a composed config, with its hydra node, builds: dotted keys and resolved values.

    These are the arguments of every `_target_` and the keys that train.py reads. Keys that others only interpolate
    (`optimizer.lr`), names that a run is filed under (`choices`) and its own folder are left out. Changes the config.
    Raises InputError for a value that cannot be resolved.
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
    return flatten(select_targets(config)) | {name: value for name, value in flatten(config).items() if name in READ}


def select_targets(config: Any) -> Any:
    """Return a config without what is outside of its `_target_` nodes."""
    if not isinstance(config, dict) or "_target_" in config:
        return config
    parts = {name: select_targets(part) for name, part in config.items() if isinstance(part, dict)}
    return {name: part for name, part in parts.items() if part}


def has_key(cfg: DictConfig, key: str) -> bool:
    """Return whether a config group or a value of this name is in a composed config."""
    if key in cfg.hydra.runtime.choices:
        return True
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, above) if above else cfg
    return isinstance(node, DictConfig) and name in node.keys()  # noqa: SIM118, a value that must be given is none yet


def differing_keys(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the keys of what two configs build differently."""
    return {
        name for name in one.keys() | other.keys() if (name in one, one.get(name)) != (name in other, other.get(name))
    }


def to_input_error(error: HydraException) -> InputError:
    """Return what Hydra says about an override that does not fit."""
    return InputError(" ".join(f"{error} {error.__cause__ or ''}".split()))


def dead_key_error(name: str) -> InputError:
    """Return why a key that is searched or swept, and does nothing, is refused."""
    return InputError(
        f"{name}: changes nothing in what is built: no part takes its value, or an experiment or another override sets "
        "that part's own; leave it out, or vary the part's own key (--cfg job shows them all)"
    )
