"""Import paths that a config may use as `_target_`: classes and functions by name, and the caller's own modules.

Values may come from a sweep server or from a folder that someone sent. They may choose among these, not call just
anything: a whole library has functions that run what a file says. `gan.losses.*` allows what is defined in that module,
not what is merely imported there.
"""

import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gan.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def list_own_modules(path: str) -> tuple[str, ...]:
    """Return patterns for the modules in the folders of a PYTHONPATH that are the caller's own.

    Clusters put whole libraries on it too, and the suite itself may be there: those are no reason to call them.
    """
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    own = [str(folder) for folder in folders if folder.resolve() != ROOT and not list(folder.glob("*.dist-info"))]
    names = {module.name for module in pkgutil.iter_modules(own)} if own else set()
    installed = packages_distributions() if names else {}
    return tuple(f"{name}.*" for name in sorted(names) if name not in sys.stdlib_module_names and name not in installed)


def list_names(module: str, names: str) -> tuple[str, ...]:
    """Return the import paths of several names of a module."""
    return tuple(f"{module}.{name}" for name in names.split())


OWN = list_own_modules(os.environ.get("PYTHONPATH", ""))
GENERATORS = ("gan.models.*", "gan.priors.*", *OWN)  # of a generator.yaml
PARTS = (  # of a run
    *GENERATORS,
    *(
        "gan.losses.*",
        "gan.penalties.*",
        "gan.augment.*",
        "gan.schedules.*",
        "gan.data.datasets.*",
        "gan.data.folder.*",
    ),
    *list_names("gan.callbacks", "cost.Cost interruption.Interruption last_checkpoint.LastCheckpoint"),
    *list_names("gan.callbacks", "monitors.Throughput monitors.DivergenceGuard progress.TrainingProgress"),
    *list_names("gan.metrics.extractors", "classifier.* inception.* own_classifier.* timm_model.*"),
    *("gan.callbacks.samples.SampleGrid", "gan.search.pruning.TrialReport", "gan.tracking.wandb_logger"),
    *list_names(
        "torch.optim",
        "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam",
    ),
    *list_names(  # of those that read pickles only CIFAR, whose files' hashes are checked
        "torchvision.datasets",
        "CIFAR10 CIFAR100 CelebA Country211 DTD EMNIST EuroSAT FER2013 FGVCAircraft FashionMNIST Flowers102 Food101 "
        "GTSRB Imagenette KMNIST MNIST OxfordIIITPet PCAM QMNIST RenderedSST2 SEMEION STL10 SVHN StanfordCars USPS",
    ),
    "pytorch_lightning.Trainer",
    *list_names(
        "pytorch_lightning.callbacks",
        "DeviceStatsMonitor EarlyStopping LearningRateMonitor ModelCheckpoint ModelSummary RichModelSummary Timer",
    ),
    *list_names("pytorch_lightning.loggers", "CSVLogger TensorBoardLogger"),
    *list_names("pytorch_lightning.plugins", "MixedPrecision TorchSyncBatchNorm"),
    *list_names(
        "pytorch_lightning.plugins.environments", "LightningEnvironment SLURMEnvironment TorchElasticEnvironment"
    ),
    *list_names("pytorch_lightning.profilers", "AdvancedProfiler PyTorchProfiler SimpleProfiler"),
    *list_names("pytorch_lightning.strategies", "DDPStrategy SingleDeviceStrategy"),
    *list_names(
        "optuna.pruners",
        "HyperbandPruner MedianPruner NopPruner PatientPruner PercentilePruner SuccessiveHalvingPruner "
        "ThresholdPruner WilcoxonPruner",
    ),
)
TARGETS = (  # of a command line: what starts runs, too
    *PARTS,
    *("gan.launch.slurm.ClusterLauncher", "gan.launch.local.MachineLauncher", "gan.launch.forecast.Forecast"),
    *("gan.launch.account.Account", "gan.launch.swept_keys.SweptKeys"),
    "gan.search.sweeper.StudySweeper",
)


def require_trusted(config: Any, key: str = "", allowed: Sequence[str] = PARTS) -> None:
    """Raise InputError if a config, resolved, names an import path that it may not use, at any depth."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(config, dict):
        parts = config.items()
        if "_target_" in config:
            require_target(config["_target_"], key, allowed)
    elif isinstance(config, list | tuple):
        parts = enumerate(config)
    for name, part in parts:
        require_trusted(part, f"{key}.{name}" if key else str(name), allowed)


def require_target(target: Any, key: str, allowed: Sequence[str] = PARTS) -> None:
    """Raise InputError for an import path that a config may not use."""
    if isinstance(target, str) and (target in allowed or (matches(target, allowed) and is_defined(target, allowed))):
        return
    name, library = f"{key}._target_" if key else "_target_", str(target).split(".")[0]
    shown = [pattern for pattern in allowed if pattern.split(".")[0] == library]
    shown = shown or (list(allowed) if len(allowed) < 6 else [])
    shown = shown or [f"parts of {', '.join(sorted({pattern.split('.')[0] for pattern in allowed}))}"]
    raise InputError(
        f"{name}={target}: not an import path that a config may use; it may name {', '.join(shown)} (the list is in "
        "gan/run/allowlist.py), and modules of your own in a folder on PYTHONPATH"
    )


def matches(name: str, allowed: Sequence[str]) -> bool:
    """Whether an import path is allowed as it is written."""
    return any(name == pattern or (pattern[-1] == "*" and name.startswith(pattern[:-1])) for pattern in allowed)


def is_defined(name: str, allowed: Sequence[str]) -> bool:
    """Whether an import path leads to something that is defined in an allowed place; yes where it leads nowhere."""
    try:
        found = pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return True  # building it says so
    return matches(f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}", allowed)


def load_plain(path: Path) -> DictConfig:
    """Return a config that a run left in its folder.

    Raises InputError for a file that is no config, and for one that asks for values of this machine: a run leaves
    plain values, and `${oc.env:...}` of a folder that someone sent would read the environment.
    """
    try:
        config = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path}: not a run's config: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig):
        raise InputError(f"{path}: not a run's config")
    key = find_interpolation(OmegaConf.to_container(config))
    if key:
        raise InputError(f"{path}: {key} is not a plain value, as runs leave them, but is computed where it is read")
    return config


def require_parameter(name: str, value: Any) -> None:
    """Raise InputError for a sweep's parameter that is more than a value for a key of a run's config.

    `${oc.env:...}` would read the environment, for the server to see.
    """
    if not is_setting(name):
        raise InputError(f"{name}: not a parameter that a sweep may set; name a key of a run's config, as optimizer.lr")
    if "${" in json.dumps(value):
        raise InputError(f"{name}={value}: not a plain value; a sweep may set numbers, text, lists and null")


def is_setting(name: str) -> bool:
    """Whether a word of a command line names a key of a run's config.

    Hydra's own options and keys name files to unpickle, commands and folders.
    """
    return bool(re.fullmatch(r"[+~]{0,2}\w[\w./@-]*", name)) and "hydra" not in re.split(r"[./@]", name.lstrip("+~"))


def find_interpolation(value: Any, key: str = "") -> str | None:
    """Return the key of a value that is computed where it is read, None where none is; words of a command are text."""
    if isinstance(value, str):
        return key if "${" in value else None
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = (find_interpolation(part, f"{key}.{name}" if key else str(name)) for name, part in parts)
    return next((inner for inner in found if inner and inner.split(".")[0] != "overrides"), None)
