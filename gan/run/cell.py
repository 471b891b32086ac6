"""A cell: the setting that runs share which differ in nothing but their seed, and its name everywhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from gan.system.wandb_server import safe

CHOICES = ("data", "model", "loss")  # groups whose options begin a cell's name

# what leaves the trained networks and their scores as they are: the seed, paths, how and where a run was started,
# the study around it, and how it is watched
INCIDENTAL = {
    *("seed", "run_dir", "data_dir", "cache_dir", "ckpt_path", "resume", "overrides", "second_objective", "choices"),
    *("logger", "study", "trial", "data.root", "data.cache_dir", "data.num_workers", "metrics.extractor.cache_dir"),
    *("trainer.accelerator", "trainer.default_root_dir", "trainer.log_every_n_steps", "trainer.enable_model_summary"),
    *("trainer.enable_progress_bar", "trainer.profiler", "trainer.detect_anomaly", "trainer.deterministic"),
    *("trainer.benchmark", "callbacks.progress", "callbacks.cost", "callbacks.throughput", "callbacks.interruption"),
    *("callbacks.guard", "callbacks.samples", "callbacks.checkpoint", "callbacks.best", "callbacks.last"),
    "callbacks.search",
    # and what acts only through the keys that refer to it
    *(
        "optimizer.lr",
        "optimizer.beta1",
        "optimizer.beta2",
        "discriminator_norm",
        "data.domain",
        "metrics.weights_path",
    ),
}
FILES = ("metrics.extractor.weights_path",)  # wherever they are stored

LONGEST = 100  # W&B takes 128 characters, of which a seed or `generator-` need some
WORDS = {  # by which people tell settings apart, beside the penalties
    "optimizer.lr": "lr",
    "optimizer.generator.lr": "g_lr",
    "optimizer.discriminator.lr": "d_lr",
    "n_critic": "n_critic",
    "data.batch_size": "batch_size",
    "trainer.max_epochs": "epochs",
    "trainer.max_steps": "steps",
}


def name_cell(config: Mapping[str, Any]) -> str:
    """Return the name of a run's cell: data-model-loss, some of its settings, and a hash of all.

    A run that has started knows it as `choices.cell`. At most 100 letters, digits and any of `_.-`, as artifacts of
    W&B allow.
    """
    chosen = [str(config["choices"].get(name, "")) for name in CHOICES]
    told = select_setting(config)
    digest = hashlib.sha256(json.dumps([chosen, unify_numbers(told)], sort_keys=True, default=str).encode())
    head = "-".join([*chosen, *describe_setting(told)])
    return f"{safe(head)[: LONGEST - 9].strip('-')}-{digest.hexdigest()[:8]}"


def select_setting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was told to do, flat, without what is incidental; what both players share is named once."""
    told = {name: value for name, value in flatten(config).items() if not is_incidental(name)}
    for name in FILES:
        if isinstance(told.get(name), str):
            told[name] = PurePath(told[name]).name
    for name in [name for name in told if name.startswith("optimizer.generator.")]:
        other = name.replace(".generator.", ".discriminator.")
        if other in told and told[name] == told[other]:
            told[name.replace(".generator.", ".")] = told.pop(name)
            del told[other]
    return told


def is_incidental(name: str) -> bool:
    """Whether a dotted key, or what it is part of, says nothing of what is trained and scored."""
    above = name.split(".")
    return any(".".join(above[: i + 1]) in INCIDENTAL for i in range(len(above)))


def describe_setting(told: dict[str, Any]) -> list[str]:
    """Return the settings that a cell's name spells out."""
    shown = {word: told[name] for name, word in WORDS.items() if name in told and told[name] not in (-1, None)}
    for name, value in sorted(told.items()):
        group, _, rest = name.partition(".")
        penalty, _, option = rest.partition(".")
        if group == "penalty" and option in ("weight", "gamma"):
            shown[penalty] = value
    return [f"{word}_{format_number(value)}" for word, value in shown.items()]


def format_number(value: Any) -> str:
    """Return a number in letters that a name may hold."""
    return f"{value:g}".replace("+", "") if isinstance(value, float) else str(value)


def flatten(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a nested config with dotted keys."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= (
            flatten(value, f"{above}{name}.") if isinstance(value, Mapping) and value else {f"{above}{name}": value}
        )
    return found


def unify_numbers(value: Any) -> Any:
    """Return nested values with whole numbers as ints: 1.0 is 1, as it is for servers that send JSON."""
    if isinstance(value, Mapping):
        return {name: unify_numbers(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [unify_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
