"""Workers that take trials of a study, run them as jobs, and record in the study how they ended."""

import logging
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gan.launch.jobs import STOP
from gan.search.heartbeat import Heartbeats
from gan.search.space import Space
from gan.search.storage import OUTAGE_S
from gan.search.summary import show_trial
from gan.search.trial_runs import TrialFailed, TrialRuns
from gan.search.trials import (
    DIVERGED,
    FAILURE,
    PRUNED,
    PRUNED_SEEDS,
    REFUSED,
    SURPLUS,
    is_counted,
    is_duplicate,
    read_trial,
    retry_dead_trial,
)

log = logging.getLogger(__name__)


class StudyEnded(Exception):
    """No further trial is worth running; the message says why."""


class Workers:
    """The state that all workers of this process share: the study, its launcher, and the trials that have failed.

    Failed trials do not count towards `n_trials`, but are not replaced by the command in which they failed, and
    `max_failures` in a row end it. The next command gives them a second chance. A trial whose process dies is tried
    again, up to `max_retries` times. With more than one of `seeds`, a trial runs its setting with each of them, its
    value is their mean, and workers without a trial run seeds of others' trials.
    """

    def __init__(
        self,
        study: optuna.Study,
        launcher: Launcher,
        *,
        heartbeats: Heartbeats,
        space: Space,
        n_trials: int,
        folder: Path,
        max_retries: int,
        max_failures: int,
        seeds: Sequence[int] = (),
    ) -> None:
        self.study, self.heartbeats, self.space = study, heartbeats, space
        self.n_trials, self.folder = n_trials, folder
        self.max_retries, self.max_failures, self.seeds = max_retries, max_failures, seeds
        self.lock = threading.Lock()
        options = {"space": space, "folder": folder, "max_retries": max_retries, "seeds": seeds, "lock": self.lock}
        self.runs = TrialRuns(study, launcher, **options)
        self.own: set[int] = set()  # numbers of trials that this process has run
        self.failed: set[int] = set()  # those among them that failed
        self.in_a_row, self.last_failure, self.lost_since = 0, "", None
        self.has_announced_waiting = False

    def work(self) -> None:
        """Run trials until the study has all that it wants and none is running any more.

        Raises StudyEnded for a mistake that all trials share, and for too many failures in a row.
        """
        while not STOP.is_set():
            try:
                if self.run_next():
                    return
                self.lost_since = None
            except (SQLAlchemyError, StorageInternalError, OSError) as error:  # in the middle of a transaction
                self.lost_since = self.lost_since or time.monotonic()
                if time.monotonic() - self.lost_since > OUTAGE_S:
                    text = f"out of reach for {OUTAGE_S} s: {error}; the same command resumes the study"
                    raise StudyEnded(f"hydra.sweeper.storage: {' '.join(text.split())}") from error
                log.warning("the study's storage does not answer; trying again: %s", error)
                STOP.wait(1)

    def run_next(self) -> bool:
        """Run a trial, or wait for others'; return whether the study is complete."""
        with self.lock:
            self.retry_dead_trials()
            trial = self.study.ask() if len(self.list_counted()) < self.n_trials else None
        if trial:
            with self.heartbeats.send(trial):
                state, values = self.run_trial(trial)
            self.tell(trial, state, values)
            return False
        if self.runs.run_seed_of_another_trial():
            return False
        running = {trial.number for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
        if running - self.own and not self.has_announced_waiting:
            log.info("waiting for trials %s, of another process or of one that has died", sorted(running - self.own))
            self.has_announced_waiting = True
        if running:
            STOP.wait(1)
        return not running

    def run_trial(self, trial: Trial) -> tuple[TrialState, list[float] | None]:
        """Run a trial; return its state and values. One that an error ends has failed for the study."""
        try:
            return TrialState.COMPLETE, self.evaluate(trial)
        except optuna.TrialPruned:
            return TrialState.PRUNED, None
        except TrialFailed:
            return TrialState.FAIL, None
        except BaseException:
            self.tell(trial, TrialState.FAIL)
            raise

    def tell(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        """Record how a trial ended, unless another worker has taken it for dead meanwhile."""
        try:
            recorded = self.study.tell(trial, values, state, skip_if_finished=True).state
        except UpdateFinishedTrialError:  # between Optuna's question and its answer
            recorded = None
        if recorded != state:
            log.warning("trial %d was taken for dead, and is tried again by another worker", trial.number)

    def retry_dead_trials(self) -> None:
        """Queue again the trials that have given no sign of life for too long."""
        for trial in self.heartbeats.find_silent_trials():
            try:
                self.study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):  # it has ended, or another process was first
                continue
            retry_dead_trial(self.study, read_trial(self.study, trial.number), self.max_retries)

    def list_counted(self) -> list[int]:
        """Return the numbers of the trials that count, for this command those that failed in it too."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial.number for trial in trials if is_counted(trial) or trial.number in self.failed]

    def evaluate(self, trial: Trial) -> list[float]:
        """Launch a trial's job and return its values; raise TrialPruned, or TrialFailed with the reason."""
        with self.lock:
            self.own.add(trial.number)
            surplus = trial.number not in self.list_counted()[: self.n_trials]
        if surplus or is_duplicate(read_trial(self.study, trial.number), self.study.get_trials(deepcopy=False)):
            trial.set_user_attr(SURPLUS, value=True)  # another process has asked at the same time
            raise TrialFailed("the study has all its trials")
        values, failure = self.runs.launch(trial)
        finite = [value for value in values if math.isfinite(value)]
        attributes = read_trial(self.study, trial.number).user_attrs
        is_pruned = PRUNED in attributes or PRUNED_SEEDS in attributes
        if PRUNED in attributes:
            failure = f"pruned at step {attributes[PRUNED]:,}"
        elif PRUNED_SEEDS in attributes:
            failure = f"pruned after {attributes[PRUNED_SEEDS]} of {len(self.seeds)} seeds"
        elif len(finite) < len(values):
            failure = DIVERGED
        show_trial(self.study, trial.number, failure, finite)
        if failure and failure != DIVERGED and not is_pruned:
            self.record_failure(trial, failure)
        self.in_a_row = 0
        if is_pruned:
            raise optuna.TrialPruned
        if failure:
            trial.set_user_attr(FAILURE, failure)
            raise TrialFailed(failure)
        return values

    def record_failure(self, trial: Trial, failure: str) -> None:
        """Record why a trial failed; raise TrialFailed, or StudyEnded where the next ones would fail, too."""
        trial.set_user_attr(FAILURE, failure)
        with self.lock:
            self.failed.add(trial.number)
            self.in_a_row, self.last_failure = self.in_a_row + 1, failure
            in_a_row = self.in_a_row
        refused = read_trial(self.study, trial.number).user_attrs.get(REFUSED)
        others = (other for other in self.study.get_trials(deepcopy=False) if other.number != trial.number)
        if (
            refused
            and not refused.startswith((*self.space.parameters,))
            and not any(is_counted(other) and other.state != TrialState.RUNNING for other in others)
        ):
            raise StudyEnded(refused)
        if in_a_row >= self.max_failures:
            raise StudyEnded(
                f"{in_a_row} trials in a row have failed (hydra.sweeper.max_failures), the last one: "
                f"{failure.removeprefix('failed: ')}; the same command tries them again"
            )
        raise TrialFailed(failure)
