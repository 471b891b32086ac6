"""Import paths that a config may use as `_target_`: listed classes and functions, and the user's own modules.

A config may come from a sweep's server or from a folder that someone sent. It may choose among these paths only:
libraries such as torch have functions that run the code in a file. `gan.losses.*` allows what that module defines, not
what it imports.
"""

import os
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from gan.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def list_own_modules(path: str) -> tuple[str, ...]:
    """Return patterns for the user's own modules in the folders of a PYTHONPATH.

    Installed libraries, which clusters put there too, and this project are left out.
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
GENERATORS = ("gan.models.*", "gan.priors.*", *OWN)  # in a generator.yaml
PARTS = (  # in a run's config
    *GENERATORS,
    *(
        "gan.losses.*",
        "gan.penalties.*",
        "gan.regularizers.*",
        "gan.augment.*",
        "gan.schedules.*",
        "gan.data.datasets.*",
        "gan.data.folder.*",
        "gan.data.points.*",
        "gan.data.stacked.*",
    ),
    *list_names("gan.callbacks", "cost.Cost interruption.Interruption last_checkpoint.LastCheckpoint"),
    *list_names("gan.callbacks", "monitors.Throughput monitors.DivergenceGuard progress.TrainingProgress"),
    *list_names("gan.metrics", "mode_scorer.ModeScorer stacked_scorer.StackedScorer"),
    *list_names("gan.metrics.extractors", "classifier.* inception.* nearest_mode.* own_classifier.* timm_model.*"),
    "gan.metrics.extractors.stacked_digits.StackedDigits",
    *list_names("gan.callbacks", "samples.SampleGrid scatter.SampleScatter threads.Threads"),
    *("gan.search.pruning.TrialReport", "gan.tracking.wandb_logger"),
    *list_names(
        "torch.optim",
        "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam",
    ),
    *list_names(  # without those that read pickles, but for CIFAR, which checks the hashes of its files
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
TARGETS = (  # on a command line: launchers, sweepers and Hydra callbacks, too
    *PARTS,
    *("gan.launch.slurm.ClusterLauncher", "gan.launch.local.MachineLauncher", "gan.launch.forecast.Forecast"),
    *("gan.launch.account.Account", "gan.launch.swept_keys.SweptKeys"),
    "gan.search.sweeper.StudySweeper",
)


def require_trusted(config: Any, key: str = "", allowed: Sequence[str] = PARTS) -> None:
    """Raise InputError if a resolved config has, at any depth, an import path that is not allowed."""
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
    """Raise InputError for an import path that is not allowed."""
    if isinstance(target, str) and (target in allowed or (matches(target, allowed) and is_defined(target, allowed))):
        return
    name, library = f"{key}._target_" if key else "_target_", str(target).split(".")[0]
    shown = [pattern for pattern in allowed if pattern.split(".")[0] == library]
    shown = shown or (list(allowed) if len(allowed) < 6 else [])
    shown = shown or [f"parts of {', '.join(sorted({pattern.split('.')[0] for pattern in allowed}))}"]
    raise InputError(
        f"{name}={target}: this import path is not allowed in a config; allowed are {', '.join(shown)} (see "
        "gan/run/allowlist.py) and your own modules in a folder on PYTHONPATH"
    )


def matches(name: str, allowed: Sequence[str]) -> bool:
    """Return whether an import path matches a name or a pattern `prefix.*`."""
    return any(name == pattern or (pattern[-1] == "*" and name.startswith(pattern[:-1])) for pattern in allowed)


def is_defined(name: str, allowed: Sequence[str]) -> bool:
    """Return whether an import path leads to an object that is defined in an allowed module, or to nothing."""
    try:
        found = pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return True  # building it raises a better error
    return matches(f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}", allowed)
