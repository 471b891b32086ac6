"""Workers that take trials of a study, run them as jobs, and tell the study what became of them."""

import copy
import logging
import math
import shutil
import threading
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from gan.errors import Preempted, reason
from gan.machine import ENDING
from gan.runs import HISTORY, LAST
from gan.search import PRUNED
from gan.search.study import Space
from gan.search.summary import show

# a trial's user attributes
FAILURE = "failure"  # why it failed
SURPLUS = "surplus"  # it was asked for, but not run

log = logging.getLogger(__name__)


class TrialFailed(RuntimeError):
    """A trial has failed, alone."""


class Workers:
    """What all workers of this process share: the study, its launcher, and how many trials they have asked for."""

    def __init__(
        self, study: optuna.Study, launcher: Launcher, *, space: Space, fixed: list[str], n_trials: int, folder: Path
    ) -> None:
        self.study, self.launcher = study, launcher
        self.space, self.fixed, self.n_trials, self.folder = space, fixed, n_trials, folder
        self.lock, self.asked = threading.Lock(), 0
        self.own: set[int] = set()  # numbers of trials that this process has run
        self.told = False

    def work(self) -> None:
        """Run trials until the study has all that it wants and nobody is at one any more."""
        while not ENDING.is_set():
            with self.lock:
                wanted = len(self.started()) + self.asked < self.n_trials
                self.asked += wanted
            if wanted:
                self.take()
                continue
            running = {trial.number for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
            if not running:
                return
            if running - self.own and not self.told:
                log.info("waiting for trial %s, of another process or of one that has died", sorted(running - self.own))
                self.told = True
            ENDING.wait(1)
            fail_stale_trials(self.study)

    def take(self) -> None:
        """Run the trial that is next."""
        try:
            self.study.optimize(self.objective, n_trials=1, catch=(TrialFailed,))
        except ValueError as error:
            if not str(error).startswith("Cannot tell a"):
                raise
            log.warning("a trial was taken for dead, and is tried again by another worker")

    def started(self) -> list[int]:
        """Return the numbers of the trials that have been started; one that is tried again counts once."""
        trials = self.study.get_trials(deepcopy=False)
        over = {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}
        over |= {trial.number for trial in trials if trial.state == TrialState.WAITING or SURPLUS in trial.user_attrs}
        return [trial.number for trial in trials if trial.number not in over]

    def objective(self, trial: Trial) -> float | list[float]:
        """Launch a trial's job and return its values; raise TrialPruned, or TrialFailed with the reason."""
        with self.lock:
            self.asked -= 1  # it is in the storage now
            self.own.add(trial.number)
            surplus = trial.number not in self.started()[: self.n_trials]
        if surplus:  # another process has asked for the last one at the same time
            trial.set_user_attr(SURPLUS, value=True)
            raise TrialFailed("the study has all its trials")
        for before in RetryHeartbeatStaleTrialCallback.retry_history(self.stored(trial))[-1:]:
            self.carry_over(before, trial.number)
        values, failure = [], ""
        if PRUNED not in trial.user_attrs:  # in a try whose end nobody has seen
            values, failure = self.run(trial)
        finite = [value for value in values if math.isfinite(value)]
        pruned = self.stored(trial).user_attrs.get(PRUNED)
        if pruned is not None:
            failure = f"pruned at step {pruned:,}"
        elif len(finite) < len(values):
            failure = "diverged"
        show(self.study, trial.number, failure, finite)
        if pruned is not None:
            raise optuna.TrialPruned
        if failure:
            trial.set_user_attr(FAILURE, failure)
            raise TrialFailed(failure)
        return values

    def run(self, trial: Trial) -> tuple[list[float], str]:
        """Launch a trial's job, and return its values or why it failed; at Ctrl-C see to it that it is tried again."""
        with self.lock:  # workers that draw by turns would give the same seed other trials each time
            params = {name: trial._suggest(name, distribution) for name, distribution in self.space.items()}
        words = [*(f"{name}={value}" for name, value in params.items()), *self.fixed]
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")
        try:
            (job,) = self.launcher.launch([words], initial_job_idx=trial.number)
            returned = job.return_value
            return [float(value) for value in (returned if isinstance(returned, list | tuple) else [returned])], ""
        except BaseException as error:
            ended = KeyboardInterrupt | Preempted
            if isinstance(error, ended) or isinstance(error.__context__, ended):  # which Lightning turns into an exit
                self.study._storage.get_heartbeat_stale_trial_callback()(self.study, self.stored(trial))
                raise KeyboardInterrupt from error
            text = reason(error) if isinstance(error, Exception) else None
            return [], "failed: " + (text or " ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]]))

    def stored(self, trial: Trial) -> FrozenTrial:
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
