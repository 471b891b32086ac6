"""A run's config, made ready to build from: types, home folders, seed, accelerator and precision."""

import math
import os
import random
import types
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gan.errors import InputError
from gan.gan import GAN
from gan.run.allowlist import require_target
from gan.run.budget import apply_budget
from gan.run.cell import ANNEALED, BUDGETS
from gan.system.accelerators import resolve_accelerator
from gan.system.precision import resolve_precision

GROUPS = ("data", "model", "loss", "penalty", "augment", "prior", "metrics", "optimizer", "schedule", "trainer")
SEEDS = 2**32  # what numpy takes
TYPES = {  # of keys that are not arguments of a constructor
    "metrics.n_fakes": int,
    "metrics.reference": str,
    "seed": int | None,
    **dict.fromkeys(BUDGETS, int | None),
    "conditional": bool,
    "discriminator_norm": str,
    "trainer.compile": bool,
    "trainer.precision": object,  # checked by resolve_precision
    "optimizer.lr": float,
    "optimizer.beta1": float,
    "optimizer.beta2": float,
    **{f"annealing.{name}.final": float | None for name in ANNEALED},
    **{f"annealing.{name}.until": float for name in ANNEALED},
    **dict.fromkeys(("objective", "second_objective", "ckpt_path", "resume", "cache_dir"), str | None),
    **dict.fromkeys(("data_dir", "run_dir"), str),
}
NAMES = {  # of types, for messages
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "null",
    **dict.fromkeys((list, tuple, Sequence, Iterable), "a list"),
}


def prepare_config(cfg: DictConfig) -> DictConfig:
    """Return the config with all values resolved, of the types that the constructors' hints ask for.

    Whole numbers may be typed as floats (1e4), and floats as whole numbers. `~` at the start of a string becomes the
    home folder, and seed=null a random seed. trainer.accelerator=auto becomes the hardware that is there, and
    trainer.precision=auto the precision that it computes fast. A budget sets trainer.max_steps.
    Raises InputError that names the key, its value and what is allowed.
    """
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key}: must be given, as {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    missing = [name for name in (*GROUPS, "logger", "callbacks") if not isinstance(config.get(name), dict)]
    if missing:
        raise InputError(f"{missing[0]}: an option must be chosen; python train.py --help lists them")
    config = convert(config, "", get_type_hints(GAN.__init__))
    config["seed"] = choose_seed(config["seed"])
    trainer = config["trainer"]
    trainer["accelerator"] = resolve_accelerator(trainer["accelerator"])
    trainer["precision"] = resolve_precision(trainer["precision"], trainer["accelerator"])
    config = apply_budget(config)
    check_trainer(config["trainer"], is_scored=bool(config["metrics"]["extractor"]))
    return OmegaConf.create(config)


def choose_seed(seed: int | None) -> int:
    """Return the seed, a random one for None; raise InputError outside of 0 to 2^32 - 1."""
    if seed is None:
        return random.SystemRandom().randrange(SEEDS)
    if not 0 <= seed < SEEDS:
        raise InputError(f"seed={seed}: must be a whole number from 0 to {SEEDS - 1}, or null for a random one")
    return seed


def convert(value: Any, key: str, hint: Any) -> Any:
    """Return a value of the config, and all inside it, converted to its type hint; a dict has a dict of hints."""
    if isinstance(value, dict):
        if "_target_" in value:
            require_target(value["_target_"], key)
            require_kind(value.get("_partial_", False), f"{key}._partial_", bool)
            hint = read_hints(value["_target_"])
        elif hint is not None and not isinstance(hint, dict):
            require_kind(value, key, hint)
        hints = hint if isinstance(hint, dict) else {}
        names = {name: f"{key}.{name}" if key else name for name in value}
        return {
            name: convert(part, names[name], TYPES.get(names[name], hints.get(name))) for name, part in value.items()
        }
    if isinstance(value, list):
        require_kind(value, key, hint)
        inner = element_hint(hint)
        return [convert(part, f"{key}[{i}]", inner) for i, part in enumerate(value)]
    if isinstance(value, str):
        value = os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    value = convert_number(value, key, hint)
    require_kind(value, key, hint)
    return value


def require_kind(value: Any, key: str, hint: Any) -> None:
    """Raise InputError for a value that fits no alternative of a hint; hints of other types are skipped."""
    kinds = [get_origin(kind) or kind for kind in unpack_union(hint)]
    choices = [choice for kind in unpack_union(hint) if get_origin(kind) is Literal for choice in get_args(kind)]
    if hint is None or any(kind not in NAMES and kind is not Literal for kind in kinds) or value in choices:
        return
    kind = type(value)
    if kind in kinds or (kind is int and float in kinds) or (kind is list and "a list" in map(NAMES.get, kinds)):
        return
    allowed = [*(NAMES[kind] for kind in kinds if kind in NAMES), *map(str, choices)]
    raise InputError(f"{key}={format_value(value)}: must be {' or '.join(dict.fromkeys(allowed))}")


def convert_number(value: Any, key: str, hint: Any) -> Any:
    """Return a number as an int or a float, whichever the hint asks for; raise InputError for anything else."""
    kinds = set(unpack_union(hint))
    if {int, float} <= kinds and isinstance(value, float) and value > 1 and value.is_integer():
        return int(value)  # a count; values up to 1 are fractions
    wants_int, wants_float = int in kinds and float not in kinds, float in kinds and int not in kinds
    if not (wants_int or wants_float) or kinds & {str, bool, list} or isinstance(value, dict | list):
        return value
    if value is None and type(None) in kinds:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or (wants_int and value != value // 1):
        allowed = ", or null" if type(None) in kinds else ""
        raise InputError(f"{key}={format_value(value)}: must be a {'whole number' if wants_int else 'number'}{allowed}")
    return int(value) if wants_int else float(value)


def format_value(value: Any) -> str:
    """Return a value as a command line would have it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def unpack_union(hint: Any) -> Sequence[Any]:
    """Return the alternatives of a type hint."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def element_hint(hint: Any) -> Any:
    """Return the type hint of a list's elements, None if there is none or more than one."""
    for kind in unpack_union(hint):
        if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Iterable):
            inner = {part for part in get_args(kind) if part is not ...}
            return inner.pop() if len(inner) == 1 else None
    return None


def read_hints(target: str) -> dict[str, Any]:
    """Return the type hints of a `_target_`'s arguments, those of base classes included."""
    try:
        found = get_object(target)
        hints = [get_type_hints(base.__init__) for base in reversed(found.__mro__)] if isinstance(found, type) else []
        return {name: hint for each in hints or [get_type_hints(found)] for name, hint in each.items()}
    except Exception:  # building it reports what is wrong
        return {}


def check_trainer(trainer: dict[str, Any], *, is_scored: bool) -> None:
    """Raise InputError for Trainer options that train nothing, never end, or score only part of the samples."""
    for name in ("max_steps", "max_epochs"):
        if trainer.get(name) is not None and (trainer[name] == 0 or trainer[name] < -1):
            raise InputError(f"trainer.{name}={trainer[name]}: must be at least 1, or -1 for no limit")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int | float) and interval <= 0:
        raise InputError(f"trainer.val_check_interval={interval}: must be a number of steps, at least 1")
    if trainer.get("check_val_every_n_epoch") is not None and trainer["check_val_every_n_epoch"] < 1:
        raise InputError(
            f"trainer.check_val_every_n_epoch={trainer['check_val_every_n_epoch']}: must be at least 1, or null"
        )
    if trainer["max_steps"] == -1 and trainer.get("max_epochs") in (-1, None) and not trainer.get("max_time"):
        raise InputError("trainer.max_steps=-1: training would never end; set trainer.max_epochs or trainer.max_time")
    if trainer.get("num_sanity_val_steps"):
        raise InputError(
            f"trainer.num_sanity_val_steps={trainer['num_sanity_val_steps']}: must be 0; networks and data are checked "
            "before training anyway"
        )
    if trainer.get("limit_train_batches") == 0:
        raise InputError("trainer.limit_train_batches=0: trains nothing; leave it out, or use a larger value")
    for name, whole in {"limit_val_batches": 1.0, "fast_dev_run": False, "overfit_batches": 0.0}.items():
        value = trainer.get(name)
        is_whole = value is None or (value == whole and type(value) is type(whole))
        if is_scored and not is_whole:
            raise InputError(
                f"trainer.{name}={value}: would score only part of the samples; leave it out, or add metrics=none"
            )
