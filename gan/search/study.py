"""The study behind a search: a new one, or the one that is there, of the same parameters."""

import functools
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
from gan.search import storage
from gan.search.parameters import Parameters
from gan.search.setting import REMEDY, adopt
from gan.search.trials import give_second_chances

ALLOWED = ("optuna.pruners.*", "optuna.samplers.*", "hydra_plugins.hydra_optuna_sweeper.*", "gan.search.grid.*")
PATIENCE_S = 10  # with a database out of reach, or one whose tables another process is about to make


def made(key: str, part: DictConfig) -> Any:
    """Return a config's sampler or pruner; raise InputError with its key and the reason where its values make none."""
    try:
        return instantiate(part, _execution_whitelist_=ALLOWED)
    except (InstantiationException, TypeError, ValueError) as error:
        raise InputError(f"{key}: {error}") from error


def built(sampler: DictConfig, cells: Sequence[dict[str, Any]]) -> BaseSampler:
    """Return a config's sampler; a grid's is given its cells."""
    own = made("hydra.sweeper.sampler", sampler)
    return own(cells) if isinstance(own, functools.partial) else own


def opened(
    name: str,
    place: str,
    *,
    parameters: Parameters,
    setting: dict[str, Any],
    cells: Sequence[dict[str, Any]],
    sampler: DictConfig,
    pruner: DictConfig,
    directions: list[str],
    objectives: list[str],
    heartbeat_s: int,
    max_retries: int,
) -> optuna.Study:
    """Return the study of a name at a place, a new one where there is none; its failed trials are queued again.

    A process that joins a study, or goes on with it, draws by chance what the one that made it draws by a seed: it
    would draw the same. Raises InputError for a sampler or pruner that its values don't make, a storage out of reach,
    and a study of other parameters or of another setting.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)  # of heartbeats, old as they are
    options = {"study_name": name, "pruner": made("hydra.sweeper.pruner", pruner)}
    options["sampler"] = built(sampler, cells)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            options["storage"] = storage.opened(place, heartbeat_s, max_retries)
            try:
                study = optuna.create_study(directions=directions, **options)
                study.set_metric_names(objectives)
            except DuplicatedStudyError:
                study = optuna.load_study(**options)
                study.sampler.reseed_rng()
                check(study, parameters, directions)
            if adopt(study, setting):
                give_second_chances(study, {*parameters})
            options["storage"].patience_s = storage.PATIENCE_S
            return study
        except (SQLAlchemyError, StorageInternalError) as error:
            if time.monotonic() > deadline:
                raise InputError(f"hydra.sweeper.storage={place}: {error}") from error
            time.sleep(1)


def check(study: optuna.Study, space: Parameters, directions: list[str]) -> None:
    """Raise InputError where a study has trials that this search's can't be compared with."""
    known = [direction.name.lower() for direction in study.directions]
    if known != directions:
        raise InputError(f"hydra.sweeper.direction={directions}: the study {study.study_name} has {known}; {REMEDY}")
    for trial in study.get_trials(deepcopy=False):
        for name in space.keys() & trial.distributions:
            try:
                check_distribution_compatibility(trial.distributions[name], space[name])
            except ValueError as error:
                text = f"{name}: the study {study.study_name} has trials with {trial.distributions[name]}, not "
                raise InputError(f"{text}{space[name]}; {REMEDY}") from error
