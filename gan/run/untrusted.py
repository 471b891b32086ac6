"""Configs and values that may come from someone else: a run folder that was sent, a sweep's server."""

import json
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gan.errors import InputError

MOVED = {  # import paths that configs of older runs have
    "gan.callbacks.SampleGrid": "gan.callbacks.samples.SampleGrid",
    "gan.callbacks.Throughput": "gan.callbacks.monitors.Throughput",
    "gan.callbacks.DivergenceGuard": "gan.callbacks.monitors.DivergenceGuard",
    "gan.cost.Cost": "gan.callbacks.cost.Cost",
    "gan.progress.TrainingProgress": "gan.callbacks.progress.TrainingProgress",
    "gan.interruption.Interruption": "gan.callbacks.interruption.Interruption",
    "gan.run.checkpoints.LastCheckpoint": "gan.callbacks.last_checkpoint.LastCheckpoint",
    "gan.search.report.TrialReport": "gan.search.pruning.TrialReport",
    "gan.metrics.classifier.Classifier": "gan.metrics.extractors.classifier.Classifier",
    "gan.metrics.inception.Inception": "gan.metrics.extractors.inception.Inception",
    "gan.metrics.own_classifier.own_classifier": "gan.metrics.extractors.own_classifier.own_classifier",
    "gan.metrics.timm_model.TimmModel": "gan.metrics.extractors.timm_model.TimmModel",
}


def load_plain(path: Path) -> DictConfig:
    """Return the config in a run's folder; import paths of earlier versions are renamed to today's.

    Raises InputError for a file that is not a config, and for interpolations: runs write plain values, and
    `${oc.env:...}` in a folder that someone sent would read this machine's environment.
    """
    try:
        config = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: not a run's config: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise InputError(f"{path}: not a run's config")
    key = find_interpolation(OmegaConf.to_container(config))
    if key:
        raise InputError(f"{path}: {key} is an interpolation (${{...}}); runs write plain values only")
    return OmegaConf.create(rename_moved(OmegaConf.to_container(config)))


def rename_moved(config: Any) -> Any:
    """Return nested values with import paths that have moved since an earlier version replaced by today's."""
    if isinstance(config, dict):
        return {name: rename_moved(part) for name, part in config.items()}
    if isinstance(config, list):
        return [rename_moved(part) for part in config]
    return MOVED.get(config, config) if isinstance(config, str) else config


def require_parameter(name: str, value: Any) -> None:
    """Raise InputError for a sweep's parameter that is not a plain value of a key of a run's config.

    `${oc.env:...}` would send this machine's environment to the server.
    """
    if not is_setting(name):
        raise InputError(f"{name}: a sweep may only set keys of a run's config, such as optimizer.lr")
    if "${" in json.dumps(value):
        raise InputError(f"{name}={value}: a sweep may only set plain values: numbers, text, lists and null")


def is_setting(name: str) -> bool:
    """Return whether an argument names a key of a run's config.

    Hydra's own options and keys can name files to unpickle, commands to run and folders.
    """
    return bool(re.fullmatch(r"[+~]{0,2}\w[\w./@-]*", name)) and "hydra" not in re.split(r"[./@]", name.lstrip("+~"))


def find_interpolation(value: Any, key: str = "") -> str | None:
    """Return the key of the first interpolation outside of the recorded `overrides`, which are text; None without."""
    if isinstance(value, str):
        return key if "${" in value else None
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = (find_interpolation(part, f"{key}.{name}" if key else str(name)) for name, part in parts)
    return next((inner for inner in found if inner and inner.split(".")[0] != "overrides"), None)
