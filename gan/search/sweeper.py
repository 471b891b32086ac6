"""Hydra's Optuna sweeper for studies that can't be lost: resumed, asynchronous, pruned; a failure is one trial's."""

import logging
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gan.errors import InputError, reason
from gan.machine import together


class StudySweeper(Sweeper):
    """Runs `n_trials` of a study in all, however often and on however many machines it is started.

    Each of `n_jobs` workers takes a trial, launches it as a job that has the trial's number, and takes the next at
    once. A trial fails alone: by an exception, a value that is not finite, or the death of its process. Workers give
    a sign of life every `heartbeat_s`; after three missed ones their trials are tried again, by whoever is alive, from
    the last checkpoint. `storage` is a database's URL or the path of a file, an Optuna journal. The other arguments
    are hydra-optuna-sweeper's, and `pruner` is one of Optuna's.
    """

    def __init__(
        self,
        *,
        study_name: str,
        storage: str,
        sampler: DictConfig,
        pruner: DictConfig,
        direction: str | Sequence[str],
        n_trials: int,
        n_jobs: int,
        heartbeat_s: int,
        params: DictConfig | None,
    ) -> None:
        directions = [direction] if isinstance(direction, str) else list(direction)
        self.name, self.storage, self.n_trials, self.n_jobs = study_name, storage, n_trials, n_jobs
        self.options = {"sampler": sampler, "pruner": pruner, "directions": directions, "heartbeat_s": heartbeat_s}
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader
        context = {"config": config, "hydra_context": hydra_context, "task_function": task_function}
        self.launcher = Plugins.instance().instantiate_launcher(**context)
        self.in_process = isinstance(self.launcher, BasicLauncher)
        logging.getLogger(BasicLauncher.__module__).setLevel(logging.WARNING)  # it repeats each trial's overrides
        if self.n_jobs > 1 and self.in_process:
            sys.exit(
                f"error: hydra.sweeper.n_jobs={self.n_jobs}: Hydra's basic launcher runs one job at a time; "
                "add hydra/launcher=local, or leave n_jobs at 1"
            )

    def compose(self, words: list[str]) -> None:
        """End the command where overrides do not fit the config, as no trial's would."""
        try:
            self.loader.load_sweep_config(self.config, words)
        except HydraException as error:
            sys.exit("error: " + " ".join(f"{error} {error.__cause__ or ''}".split()))

    def sweep(self, arguments: list[str]) -> None:
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        from gan.search import study as studies
        from gan.search.summary import announce, conclude, live
        from gan.search.workers import Workers

        words = [f"{name}={value}" for name, value in self.params.items()] + arguments
        space, fixed, others = create_params_from_overrides(words)
        space = {name: distribution for name, distribution in space.items() if name not in fixed}
        fixed = [*(f"{name}={value}" for name, value in fixed.items()), *others]
        self.compose([*(f"{name}={first(part)}" for name, part in space.items()), *fixed])
        n_trials = self.n_trials
        if "GridSampler" in self.options["sampler"]._target_:
            n_trials = min(n_trials, math.prod(map(len, studies.grid(space).values())))
        objectives = [self.config.objective, self.config.second_objective][: len(self.options["directions"])]
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            study = studies.opened(self.name, self.storage, space=space, objectives=objectives, **self.options)
        except InputError as error:
            sys.exit(f"error: {reason(error)}")
        announce(study, n_trials)
        workers = Workers(study, self.launcher, space=space, fixed=fixed, n_trials=n_trials, folder=folder)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if self.in_process:  # in the main thread, where a run takes signals, below its progress bar
                workers.work()
            else:
                with live(study, n_trials):
                    together(lambda _: workers.work(), range(self.n_jobs), n_threads=self.n_jobs)
        except KeyboardInterrupt:
            sys.exit("study stopped; the same command goes on, first with the trials that were running")
        conclude(study, folder, fixed, objectives)


def first(distribution: Any) -> Any:
    """Return a value of a parameter's."""
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low
