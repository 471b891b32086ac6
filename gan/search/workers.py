"""Workers that take trials of a study, run them as jobs, and tell the study what became of them."""

import copy
import logging
import math
import threading
import time
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from optuna.exceptions import StorageInternalError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import Preempted, ProcessDied
from gan.launch.local import ENDING
from gan.search.retries import carry_over, explain
from gan.search.space import Space
from gan.search.storage import PATIENCE_S
from gan.search.summary import show
from gan.search.trials import DIVERGED, FAILURE, PRUNED, REFUSED, SURPLUS, counts, find_history, is_twin, queue_again

log = logging.getLogger(__name__)


class TrialFailed(RuntimeError):
    """A trial has failed, alone."""


class TrialQueued(RuntimeError):
    """A trial's process has died; it is tried again, as another trial."""


class StudyEnds(Exception):
    """No further trial is worth its while; says why."""


class Workers:
    """What all workers of this process share: the study, its launcher, and how many trials they have asked for.

    Failed trials do not count towards `n_trials`, but are not replaced by the command in which they failed, and
    `max_failures` in a row end it. The next command gives them a second chance.
    """

    def __init__(
        self,
        study: optuna.Study,
        launcher: Launcher,
        *,
        space: Space,
        n_trials: int,
        folder: Path,
        max_failures: int = 5,
    ) -> None:
        self.study, self.launcher = study, launcher
        self.space, self.n_trials, self.folder = space, n_trials, folder
        self.max_failures = max_failures
        self.lock, self.asked = threading.Lock(), 0
        self.own: set[int] = set()  # numbers of trials that this process has run
        self.failed: set[int] = set()  # those among them that failed
        self.in_a_row, self.last_failure, self.lost_since = 0, "", None
        self.told = False

    def work(self) -> None:
        """Run trials until the study has all that it wants and nobody is at one any more.

        Raises StudyEnds for a mistake that all trials share, and for too many failures in a row.
        """
        while not ENDING.is_set():
            try:
                if self.turn():
                    return
                self.lost_since = None
            except (SQLAlchemyError, StorageInternalError, OSError) as error:  # in the middle of a transaction
                self.lost_since = self.lost_since or time.monotonic()
                if time.monotonic() - self.lost_since > PATIENCE_S:
                    text = f"hydra.sweeper.storage: out of reach for {PATIENCE_S} s: {error}; the same command goes on"
                    raise StudyEnds(" ".join(text.split())) from error
                log.warning("the study's storage does not answer, and is asked again: %s", error)
                ENDING.wait(1)

    def turn(self) -> bool:
        """Run a trial, or wait for others'; return whether the study is complete."""
        with self.lock:
            wanted = len(self.counted()) + self.asked < self.n_trials
            self.asked += wanted
        if wanted:
            self.take()
            return False
        running = {trial.number for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
        if running - self.own and not self.told:
            log.info("waiting for trial %s, of another process or of one that has died", sorted(running - self.own))
            self.told = True
        if running:
            ENDING.wait(1)
            fail_stale_trials(self.study)
        return not running

    def take(self) -> None:
        """Run the trial that is next."""
        begun = []

        def objective(trial: Trial) -> float | list[float]:
            with self.lock:
                self.asked -= 1  # it is in the storage now
                begun.append(trial.number)
            return self.objective(trial)

        try:
            self.study.optimize(objective, n_trials=1, catch=(TrialFailed, TrialQueued))
        except ValueError as error:
            if not str(error).startswith("Cannot tell a"):
                raise
            log.warning("a trial was taken for dead, and is tried again by another worker")
        finally:
            if not begun:
                with self.lock:
                    self.asked -= 1

    def counted(self) -> list[int]:
        """Return the numbers of the trials that count, for this command those that failed in it too."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial.number for trial in trials if counts(trial) or trial.number in self.failed]

    def objective(self, trial: Trial) -> float | list[float]:
        """Launch a trial's job and return its values; raise TrialPruned, or TrialFailed with the reason."""
        with self.lock:
            self.own.add(trial.number)
            surplus = trial.number not in self.counted()[: self.n_trials]
        if surplus or is_twin(self.stored(trial), self.study.get_trials(deepcopy=False)):
            trial.set_user_attr(SURPLUS, value=True)  # another process has asked at the same time
            raise TrialFailed("the study has all its trials")
        values, failure = [], ""
        if PRUNED not in trial.user_attrs:  # in a try whose end nobody has seen
            values, failure = self.run(trial)
        finite = [value for value in values if math.isfinite(value)]
        pruned = self.stored(trial).user_attrs.get(PRUNED)
        if pruned is not None:
            failure = f"pruned at step {pruned:,}"
        elif len(finite) < len(values):
            failure = DIVERGED
        show(self.study, trial.number, failure, finite)
        if failure and failure != DIVERGED and pruned is None:
            self.fail(trial, failure)
        self.in_a_row = 0
        if pruned is not None:
            raise optuna.TrialPruned
        if failure:
            trial.set_user_attr(FAILURE, failure)
            raise TrialFailed(failure)
        return values

    def fail(self, trial: Trial, failure: str) -> None:
        """Note that a trial has failed, and raise TrialFailed, or StudyEnds where the next ones would fail, too."""
        trial.set_user_attr(FAILURE, failure)
        with self.lock:
            self.failed.add(trial.number)
            self.in_a_row, self.last_failure = self.in_a_row + 1, failure
            in_a_row = self.in_a_row
        refused = self.stored(trial).user_attrs.get(REFUSED)
        others = (other for other in self.study.get_trials(deepcopy=False) if other.number != trial.number)
        if (
            refused
            and not refused.startswith((*self.space.parameters,))
            and not any(counts(other) and other.state != TrialState.RUNNING for other in others)
        ):
            raise StudyEnds(refused)
        if in_a_row >= self.max_failures:
            raise StudyEnds(
                f"{in_a_row} trials in a row have failed (hydra.sweeper.max_failures), the last one: "
                f"{failure.removeprefix('failed: ')}; the same command tries them again"
            )
        raise TrialFailed(failure)

    def run(self, trial: Trial) -> tuple[list[float], str]:
        """Launch a trial's job, and return its values or why it failed.

        Raises TrialQueued for a process that has died, and KeyboardInterrupt at Ctrl-C; both are tried again.
        """
        with self.lock:  # workers that draw by turns would give the same seed other trials each time
            words = self.space.draw(trial._suggest)
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")
        try:
            for before in find_history(self.stored(trial))[-1:]:
                carry_over(self.folder, before, trial.number)
            (job,) = self.launcher.launch([words], initial_job_idx=trial.number)
            returned = job.return_value
            return [float(value) for value in (returned if isinstance(returned, list | tuple) else [returned])], ""
        except BaseException as error:
            ended = KeyboardInterrupt | Preempted
            if isinstance(error, ended) or isinstance(error.__context__, ended):  # which Lightning turns into an exit
                queue_again(self.study, self.stored(trial))
                raise KeyboardInterrupt from error
            if isinstance(error, ProcessDied) and self.study._storage.get_heartbeat_stale_trial_callback()(
                self.study, self.stored(trial)
            ):
                show(self.study, trial.number, f"{error}; it is tried again")
                raise TrialQueued(str(error)) from error
            return [], f"failed: {explain(trial, error)}"

    def stored(self, trial: Trial) -> FrozenTrial:
        """Return a trial as the storage has it now."""
        return copy.deepcopy(self.study.get_trials(deepcopy=False)[trial.number])
