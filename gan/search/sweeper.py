"""Hydra's Optuna sweeper for studies that can't be lost: resumed, asynchronous, pruned; a failure is one trial's."""

import functools
import logging
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig

from gan.errors import reason

log = logging.getLogger(__name__)

PRUNED = "pruned_at_step"  # a trial's user attribute, set by the job that gave up
SURPLUS = "surplus"  # and one of a trial that was asked for but not run


class StudySweeper(Sweeper):
    """Runs `n_trials` of a study in all, however often and on however many machines it is started.

    Each of `n_jobs` workers takes a trial, launches it as a job that has the trial's number, and takes the next at
    once. A trial fails alone: by an exception, a value that is not finite, or the death of its process. Workers give
    a sign of life every `heartbeat_s`; after three missed ones their trials are tried again, by whoever is alive.
    The other arguments are hydra-optuna-sweeper's, and `pruner` is one of Optuna's.
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
        self.study_name, self.storage, self.sampler, self.pruner = study_name, storage, sampler, pruner
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        self.n_trials, self.n_jobs, self.heartbeat_s, self.params = n_trials, n_jobs, heartbeat_s, params or {}
        self.lock, self.asked = threading.Lock(), 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        options = {"config": config, "hydra_context": hydra_context, "task_function": task_function}
        self.launcher = Plugins.instance().instantiate_launcher(**options)
        kind = type(self.launcher).__name__
        if self.n_jobs > 1 and kind == "LocalLauncher":  # its jobs share this machine's cores
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // self.n_jobs)))
        if self.n_jobs > 1 and kind == "BasicLauncher":
            sys.exit(
                f"error: hydra.sweeper.n_jobs={self.n_jobs}: Hydra's basic launcher runs one job at a time; "
                "add hydra/launcher=local, or leave n_jobs at 1"
            )

    def sweep(self, arguments: list[str]) -> None:
        from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides

        from gan.search.summary import announce, conclude

        words = [f"{name}={value}" for name, value in self.params.items()] + arguments
        self.space, fixed, others = create_params_from_overrides(words)
        self.space = {name: distribution for name, distribution in self.space.items() if name not in fixed}
        self.fixed = [*(f"{name}={value}" for name, value in fixed.items()), *others]
        sampler = self.built()
        grid = isinstance(sampler, functools.partial)
        if grid:  # its values are the space's
            choices = {name: OptunaSweeperImpl._to_grid_sampler_choices(part) for name, part in self.space.items()}
            sampler = sampler(choices)
            self.n_trials = min(self.n_trials, math.prod(map(len, choices.values())))
        self.folder = Path(self.config.hydra.sweep.dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = self.opened(sampler)
        if self.study.trials and not grid and self.sampler.get("seed") is not None:
            self.study.sampler = self.built(seed=self.sampler.seed + len(self.study.trials))  # not the same draws again
        announce(self.study, self.n_trials)
        if self.n_jobs == 1:
            self.work()
        else:
            with ThreadPoolExecutor(self.n_jobs) as pool:
                for worker in [pool.submit(self.work) for _ in range(self.n_jobs)]:
                    worker.result()
        conclude(self.study, self.folder, self.fixed)

    def built(self, **options: Any) -> Any:
        """Return the sampler, with other options than the config's where they are given."""
        allowed = ("optuna.*", "hydra_plugins.hydra_optuna_sweeper.*")
        return instantiate(self.sampler, **options, _execution_whitelist_=allowed)

    def opened(self, sampler: Any) -> Any:
        """Return the study, a new one or the one that is there; of many that start at once, one makes the tables."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats, old as they are
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback()
        signs = {"heartbeat_interval": self.heartbeat_s, "grace_period": 3 * self.heartbeat_s}
        pruner = instantiate(self.pruner, _execution_whitelist_=("optuna.pruners.*",))
        patience = 10
        while True:
            try:
                storage = optuna.storages.RDBStorage(self.storage, heartbeat_stale_trial_callback=retry, **signs)
                options = {"directions": self.directions, "load_if_exists": True, "sampler": sampler, "pruner": pruner}
                return optuna.create_study(study_name=self.study_name, storage=storage, **options)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
                patience -= 1
                if not patience:
                    raise
                time.sleep(1)

    def work(self) -> None:
        """Run trials until the study has all that it wants and nobody is at one any more."""
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        waiting = False
        while True:
            with self.lock:
                wanted = len(self.started()) + self.asked < self.n_trials
                self.asked += wanted
            if wanted:
                self.study.optimize(self.objective, n_trials=1, catch=(Exception,))
                continue
            running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if not running:
                return
            if not waiting and self.n_jobs == 1:
                numbers = ", ".join(str(trial.number) for trial in running)
                log.info("waiting for trial %s; tried again after %d s without a sign", numbers, 3 * self.heartbeat_s)
                waiting = True
            time.sleep(1)
            fail_stale_trials(self.study)

    def started(self) -> list[int]:
        """Return the numbers of the trials that have been started; one that is tried again counts once."""
        from optuna.storages import RetryHeartbeatStaleTrialCallback
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        over = {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}
        over |= {trial.number for trial in trials if trial.state == TrialState.WAITING or SURPLUS in trial.user_attrs}
        return [trial.number for trial in trials if trial.number not in over]

    def objective(self, trial: Any) -> float | list[float]:
        """Launch a trial's job and return its values; raise TrialPruned or what made it fail."""
        import optuna

        from gan.search.summary import show

        with self.lock:
            self.asked -= 1  # it is in the storage now
            surplus = trial.number not in self.started()[: self.n_trials]
        if surplus:  # another process has asked for the last one at the same time
            trial.set_user_attr(SURPLUS, value=True)
            raise RuntimeError("the study has all its trials")
        params = {name: trial._suggest(name, distribution) for name, distribution in self.space.items()}
        words = [*(f"{name}={value}" for name, value in params.items()), *self.fixed]
        try:
            (job,) = self.launcher.launch([words], initial_job_idx=trial.number)
            returned = job.return_value
        except KeyboardInterrupt:
            optuna.storages.RetryHeartbeatStaleTrialCallback()(self.study, self.study.trials[trial.number])
            raise
        except BaseException as error:
            text = reason(error) if isinstance(error, Exception) else None
            text = text or " ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]])
            show(self.study, trial.number, f"failed: {text}")
            raise RuntimeError(text) from error
        values = [float(value) for value in (returned if isinstance(returned, list | tuple) else [returned])]
        known = self.study.get_trials(deepcopy=False)[trial.number].user_attrs
        if PRUNED in known:
            show(self.study, trial.number, f"pruned at step {known[PRUNED]:,}", values)
            raise optuna.TrialPruned
        if not all(map(math.isfinite, values)):
            show(self.study, trial.number, "diverged")
            raise RuntimeError(f"the run's value is {returned}")
        show(self.study, trial.number, "", values)
        return values if len(self.directions) > 1 else values[0]
