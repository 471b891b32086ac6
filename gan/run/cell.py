"""Cells: a cell is a setting without its seed. Its name is W&B's group and the key of all tables."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from gan.system.wandb_names import make_safe_name

CHOICES = ("data", "model", "loss")  # groups whose options begin a cell's name

# keys that change neither the trained networks (but for the seed) nor their scores: the seed, paths, how and where the
# run is started, the study it belongs to, the version of the code, and how it is logged
INCIDENTAL = {
    *("seed", "run_dir", "data_dir", "cache_dir", "ckpt_path", "resume", "overrides", "second_objective", "choices"),
    "code",
    *("logger", "study", "trial", "data.root", "data.cache_dir", "data.num_workers", "metrics.extractor.cache_dir"),
    *("trainer.accelerator", "trainer.default_root_dir", "trainer.log_every_n_steps", "trainer.enable_model_summary"),
    *("trainer.enable_progress_bar", "trainer.profiler", "trainer.detect_anomaly", "trainer.deterministic"),
    *("trainer.benchmark", "callbacks.progress", "callbacks.cost", "callbacks.throughput", "callbacks.interruption"),
    *("callbacks.guard", "callbacks.samples", "callbacks.scatter", "callbacks.checkpoint", "callbacks.best"),
    *("callbacks.last", "callbacks.threads", "callbacks.search"),
    # keys that act only through others, which interpolate them
    *(
        "optimizer.lr",
        "optimizer.beta1",
        "optimizer.beta2",
        "discriminator_norm",
        "data.domain",
        "metrics.weights_path",
    ),
}
FILES = ("metrics.extractor.weights_path",)  # in any folder
BUDGETS = ("budget.images", "budget.flops")  # of a run with one, the steps follow from the other settings
ANNEALED = ("gamma", "beta2", "ema_half_life_steps", "augment_p")  # below `annealing`
NEUTRAL = {  # values that change nothing, of keys that earlier runs lack
    "pack": 1,
    "data.fraction": 1.0,
    "top_k": None,
    "schedule.until": 1.0,
    **{f"annealing.{name}.final": None for name in ANNEALED},
    **{f"annealing.{name}.until": 1.0 for name in ANNEALED},
    "model.generator.attention": None,
    "model.discriminator.attention": None,
    "model.discriminator.minibatch_std": False,
}
LENGTHS = ("trainer.max_steps", "trainer.max_epochs")

LONGEST = 100  # W&B allows 128 characters; `generator-` and `-seed0` are added to it
WORDS = {  # settings that a name spells out, besides the penalties
    "optimizer.lr": "lr",
    "optimizer.generator.lr": "g_lr",
    "optimizer.discriminator.lr": "d_lr",
    "n_critic": "n_critic",
    "pack": "pack",
    "data.batch_size": "batch_size",
    "data.fraction": "fraction",
    "trainer.max_epochs": "epochs",
    "trainer.max_steps": "steps",
    "budget.images": "images",
    "budget.flops": "flops",
}


def name_cell(config: Mapping[str, Any]) -> str:
    """Return the name of a config's cell: data-model-loss, some of its settings, and a hash of all of them.

    It has at most 100 characters, letters, digits and `_.-` only, as W&B requires of artifact names. A run records it
    as `choices.cell`.
    """
    chosen = [str(config["choices"].get(name, "")) for name in CHOICES]
    setting = {name: value for name, value in select_setting(config).items() if not is_neutral(name, value)}
    digest = hashlib.sha256(json.dumps([chosen, unify_numbers(setting)], sort_keys=True, default=str).encode())
    head = "-".join([*chosen, *describe_setting(setting)])
    return f"{make_safe_name(head)[: LONGEST - 9].strip('-')}-{digest.hexdigest()[:8]}"


def select_setting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's settings by dotted key, without incidental ones; a value of both optimizers is named once."""
    setting = {name: value for name, value in (NEUTRAL | flatten(config)).items() if not is_incidental(name)}
    setting = {name: value for name, value in setting.items() if name not in BUDGETS or value is not None}
    if setting.keys() & {*BUDGETS}:
        setting = remove_length(setting)
    for name in FILES:
        if isinstance(setting.get(name), str):
            setting[name] = PurePath(setting[name]).name
    for name in [name for name in setting if name.startswith("optimizer.generator.")]:
        other = name.replace(".generator.", ".discriminator.")
        if other in setting and setting[name] == setting[other]:
            setting[name.replace(".generator.", ".")] = setting.pop(name)
            del setting[other]
    return setting


def remove_length(setting: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with a budget without those that follow from it: steps, and steps per evaluation.

    The number of evaluations takes their place.
    """
    steps, interval = setting["trainer.max_steps"], setting.get("trainer.val_check_interval")
    setting = {name: value for name, value in setting.items() if name not in LENGTHS}
    if isinstance(interval, int) and interval > 0:
        del setting["trainer.val_check_interval"]
        setting["evaluations"] = math.ceil(steps / interval)
    return setting


def is_incidental(name: str) -> bool:
    """Return whether a dotted key, or a group above it, changes neither training nor scores."""
    above = name.split(".")
    return any(".".join(above[: i + 1]) in INCIDENTAL for i in range(len(above)))


def is_neutral(name: str, value: Any) -> bool:
    """Return whether a dotted key has its neutral value, which leaves a run in the cell of runs without the key."""
    return name in NEUTRAL and value == NEUTRAL[name]


def describe_setting(setting: dict[str, Any]) -> list[str]:
    """Return the parts of a cell's name that spell out settings."""
    shown = {word: setting[name] for name, word in WORDS.items() if name in setting and setting[name] not in (-1, None)}
    for name, value in sorted(setting.items()):
        group, _, rest = name.partition(".")
        penalty, _, option = rest.partition(".")
        if group == "penalty" and option in ("weight", "gamma"):
            shown[penalty] = value
    return [f"{word}_{format_number(value)}" for word, value in shown.items()]


def format_number(value: Any) -> str:
    """Return a number in characters that a name may have."""
    return f"{value:g}".replace("+", "") if isinstance(value, float) else str(value)


def flatten(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a nested config as one level with dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= (
            flatten(value, f"{above}{name}.") if isinstance(value, Mapping) and value else {f"{above}{name}": value}
        )
    return found


def unify_numbers(value: Any) -> Any:
    """Return nested values with whole floats as ints: JSON, through which W&B sends values, has one kind of number."""
    if isinstance(value, Mapping):
        return {name: unify_numbers(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [unify_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
