"""Hydra's Optuna sweeper for studies that can't be lost: resumed, asynchronous, pruned; a failure is one trial's."""

import copy
import functools
import logging
import math
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig

from gan.errors import InputError, Preempted, reason
from gan.machine import ENDING, together
from gan.runs import HISTORY, LAST

log = logging.getLogger(__name__)

# a trial's user attributes:
PRUNED = "pruned_at_step"  # set by the job that gave up
FAILURE = "failure"  # why the trial failed
SURPLUS = "surplus"  # it was asked for, but not run


class TrialFailed(RuntimeError):
    """A trial has failed, alone."""


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
        self.study_name, self.storage, self.sampler, self.pruner = study_name, storage, sampler, pruner
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        self.n_trials, self.n_jobs, self.heartbeat_s, self.params = n_trials, n_jobs, heartbeat_s, params or {}
        self.lock, self.asked = threading.Lock(), 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        options = {"config": config, "hydra_context": hydra_context, "task_function": task_function}
        self.launcher = Plugins.instance().instantiate_launcher(**options)
        self.in_process = isinstance(self.launcher, BasicLauncher)
        logging.getLogger(BasicLauncher.__module__).setLevel(logging.WARNING)  # it repeats each trial's overrides
        if self.n_jobs > 1 and self.in_process:
            sys.exit(
                f"error: hydra.sweeper.n_jobs={self.n_jobs}: Hydra's basic launcher runs one job at a time; "
                "add hydra/launcher=local, or leave n_jobs at 1"
            )

    def sweep(self, arguments: list[str]) -> None:
        from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides

        from gan.search.summary import announce, conclude, live

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
        self.check_space()
        if self.study.trials and not grid and self.sampler.get("seed") is not None:
            self.study.sampler = self.built(seed=self.sampler.seed + len(self.study.trials))  # not the same draws again
        announce(self.study, self.n_trials)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if self.in_process:  # in the main thread, where a run takes signals, below its progress bar
                self.work()
            else:
                with live(self.study, self.n_trials):
                    together(lambda _: self.work(), range(self.n_jobs), n_threads=self.n_jobs)
        except KeyboardInterrupt:
            sys.exit("study stopped; the same command goes on, first with the trials that were running")
        conclude(self.study, self.folder, self.fixed)

    def built(self, **options: Any) -> Any:
        """Return the sampler, with other options than the config's where they are given."""
        allowed = ("optuna.*", "hydra_plugins.hydra_optuna_sweeper.*")
        return instantiate(self.sampler, **options, _execution_whitelist_=allowed)

    def opened(self, sampler: Any) -> Any:
        """Return the study, a new one or the one that is there; of many that start at once, one makes the tables."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        from gan.search import storage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats, old as they are
        pruner = instantiate(self.pruner, _execution_whitelist_=("optuna.pruners.*",))
        patience = 10
        while True:
            try:
                place = storage.opened(self.storage, self.heartbeat_s)
                options = {"directions": self.directions, "load_if_exists": True, "sampler": sampler, "pruner": pruner}
                return optuna.create_study(study_name=self.study_name, storage=place, **options)
            except InputError as error:
                sys.exit(f"error: {error}")
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                patience -= 1
                if not patience:
                    sys.exit(f"error: hydra.sweeper.storage={self.storage}: {' '.join(str(error).split())}")
                time.sleep(1)

    def check_space(self) -> None:
        """End the command where a study has trials of a space that this one cannot be compared with."""
        from optuna.distributions import check_distribution_compatibility

        for trial in self.study.get_trials(deepcopy=False):
            for name in self.space.keys() & trial.distributions:
                try:
                    check_distribution_compatibility(trial.distributions[name], self.space[name])
                except ValueError:
                    sys.exit(
                        f"error: {name}: the study {self.study_name} has trials with {trial.distributions[name]}, not "
                        f"{self.space[name]}; give this search a hydra.sweeper.study_name of its own"
                    )

    def work(self) -> None:
        """Run trials until the study has all that it wants and nobody is at one any more."""
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        waiting = False
        while not ENDING.is_set():
            with self.lock:
                wanted = len(self.started()) + self.asked < self.n_trials
                self.asked += wanted
            if wanted:
                self.study.optimize(self.objective, n_trials=1, catch=(TrialFailed,))
                continue
            running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if not running:
                return
            if not waiting and self.n_jobs == 1:
                numbers = ", ".join(str(trial.number) for trial in running)
                log.info("waiting for trial %s; tried again after %d s without a sign", numbers, 3 * self.heartbeat_s)
                waiting = True
            ENDING.wait(1)
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
            raise TrialFailed("the study has all its trials")
        params = {name: trial._suggest(name, distribution) for name, distribution in self.space.items()}
        words = [*(f"{name}={value}" for name, value in params.items()), *self.fixed]
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")
        before = optuna.storages.RetryHeartbeatStaleTrialCallback.retry_history(self.frozen(trial))
        if before:
            self.carry_over(before[-1], trial.number)
        values, ending = [math.nan], None
        try:
            if PRUNED not in trial.user_attrs:  # in a try that could not tell
                (job,) = self.launcher.launch([words], initial_job_idx=trial.number)
                returned = job.return_value
                values = [float(value) for value in (returned if isinstance(returned, list | tuple) else [returned])]
        except BaseException as error:
            ended = KeyboardInterrupt | Preempted
            if isinstance(error, ended) or isinstance(error.__context__, ended):  # which Lightning turns into an exit
                self.study._storage.get_heartbeat_stale_trial_callback()(self.study, self.frozen(trial))
                raise KeyboardInterrupt from error
            text = reason(error) if isinstance(error, Exception) else None
            ending = "failed: " + (text or " ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]]))
        known = self.frozen(trial).user_attrs
        if PRUNED in known:
            ending = f"pruned at step {known[PRUNED]:,}"
        elif not ending and not all(map(math.isfinite, values)):
            ending = "diverged"
        if ending:
            show(self.study, trial.number, ending, [value for value in values if math.isfinite(value)])
            if PRUNED in known:
                raise optuna.TrialPruned
            trial.set_user_attr(FAILURE, ending)
            raise TrialFailed(ending)
        show(self.study, trial.number, "", values)
        return values if len(self.directions) > 1 else values[0]

    def frozen(self, trial: Any) -> Any:
        """Return a trial as the storage has it now."""
        return copy.deepcopy(self.study.get_trials(deepcopy=False)[trial.number])

    def carry_over(self, before: int, number: int) -> None:
        """Give a trial that is tried again the last checkpoint and the history of the try before."""
        for run in self.folder.glob(f"{before}-*"):
            for name in (LAST, HISTORY):
                if (run / name).is_file():
                    own = run.with_name(f"{number}-{run.name.partition('-')[2]}") / name
                    own.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(run / name, own)
