"""The study behind a search: a new one, or a stored one with the same parameters."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.distributions import check_distribution_compatibility
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import InputError
from gan.search.grid import CellSampler
from gan.search.parameters import Parameters
from gan.search.setting import REMEDY, adopt_setting
from gan.search.storage import OUTAGE_S, Database, Journal, open_storage
from gan.search.trials import give_second_chances

ALLOWED = ("optuna.pruners.*", "optuna.samplers.*", "hydra_plugins.hydra_optuna_sweeper.*")
START_TIMEOUT_S = 10  # for a database out of reach, or one whose tables another process is about to create


def build_part(key: str, part: DictConfig) -> Any:
    """Return a config's sampler or pruner; raise InputError with its key and the reason for values it refuses."""
    try:
        return instantiate(part, _execution_whitelist_=ALLOWED)
    except (InstantiationException, TypeError, ValueError) as error:
        raise InputError(f"{key}: {error}") from error


def build_sampler(sampler: DictConfig, cells: Sequence[dict[str, Any]] | None) -> BaseSampler:
    """Return a config's sampler; a grid, which has cells, gets one that also draws the cells of failed trials again."""
    return build_part("hydra.sweeper.sampler", sampler) if cells is None else CellSampler(cells)


def open_study(
    name: str,
    location: str,
    *,
    parameters: Parameters,
    setting: dict[str, Any],
    cells: Sequence[dict[str, Any]] | None,
    sampler: DictConfig,
    pruner: DictConfig,
    directions: list[str],
    objectives: list[str],
) -> tuple[optuna.Study, Database | Journal]:
    """Return the study of a name in the storage at a URL or path, created where there is none, and the storage.

    The failed trials of a stored study are queued again. A process that joins or resumes a study draws by chance what
    the one that created it draws by a seed: it would draw the same. Raises InputError for a sampler or pruner with
    values that it refuses, a storage out of reach, and a study with other parameters or of another setting.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)  # of Optuna's retries, stable since version 2.8
    options = {"study_name": name, "pruner": build_part("hydra.sweeper.pruner", pruner)}
    options["sampler"] = build_sampler(sampler, cells)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            storage = open_storage(location)
            try:
                study = optuna.create_study(storage=storage, directions=directions, **options)
                study.set_metric_names(objectives)
            except DuplicatedStudyError:
                study = optuna.load_study(storage=storage, **options)
                study.sampler.reseed_rng()
                require_compatible_trials(study, parameters, directions)
            if adopt_setting(study, setting):
                give_second_chances(study, {*parameters})
            storage.patience_s = OUTAGE_S
            return study, storage
        except (SQLAlchemyError, StorageInternalError) as error:
            if time.monotonic() > deadline:
                raise InputError(f"hydra.sweeper.storage={location}: {error}") from error
            time.sleep(1)


def require_compatible_trials(study: optuna.Study, parameters: Parameters, directions: list[str]) -> None:
    """Raise InputError where a study has trials that this search's can't be compared with."""
    known = [direction.name.lower() for direction in study.directions]
    if known != directions:
        raise InputError(f"hydra.sweeper.direction={directions}: the study {study.study_name} has {known}; {REMEDY}")
    for trial in study.get_trials(deepcopy=False):
        for name in parameters.keys() & trial.distributions:
            try:
                check_distribution_compatibility(trial.distributions[name], parameters[name])
            except ValueError as error:
                text = f"{name}: the study {study.study_name} has trials with {trial.distributions[name]}, not "
                raise InputError(f"{text}{parameters[name]}; {REMEDY}") from error
