"""The runs of one trial, one per training seed: shared between workers, and reported in the order of the seeds."""

import logging
import math
import statistics
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import Trial
from sqlalchemy.exc import SQLAlchemyError

from gan.launch.jobs import STOP
from gan.search.parameters import replace_seed

log = logging.getLogger(__name__)


class SeedRuns:
    """The seeds that a trial still has to run, and the values of those that have ended.

    The trial's worker takes one seed after another, and so may workers that have no trial. A value is reported with its
    seed as the step, as soon as all seeds before it are, so that a pruner compares trials on the same seeds. No further
    seed is given out when the study prunes the trial, or a run fails or diverges. `known` holds the values that former
    tries of the trial have reported.
    """

    def __init__(self, trial: Trial, words: Iterable[str], seeds: Collection[int], known: Mapping[int, float]) -> None:
        self.trial, self.words = trial, list(words)
        self.values = {seed: known[seed] for seed in seeds if seed in known}
        self.unreported = [seed for seed in seeds if seed not in known]
        self.waiting = [*self.unreported]
        self.n_running = 0
        self.error: BaseException | None = None
        self.is_pruned = False
        self.changed = threading.Condition()

    def take(self) -> int | None:
        """Return the next seed to run, None if there is none."""
        with self.changed:
            if not self.waiting:
                return None
            self.n_running += 1
            return self.waiting.pop(0)

    def run(self, seed: int, launch: Callable[[list[str]], list[float]]) -> None:
        """Run a seed that was taken; its value or its error is there for the trial's worker."""
        try:
            value, error = launch(replace_seed(self.words, seed))[0], None
        except BaseException as raised:
            value, error = math.inf, raised
        with self.changed:
            self.n_running -= 1
            self.error = self.error or error
            if not error:
                self.values[seed] = value
            if not math.isfinite(value):
                self.waiting.clear()
            elif self.report():
                self.is_pruned = True
                self.waiting.clear()
            self.changed.notify_all()

    def report(self) -> bool:
        """Report the values that may be; return whether the study prunes the trial before its last seed.

        A value that a storage out of reach does not take is reported with the next one.
        """
        prunes = False
        try:
            while self.unreported and self.unreported[0] in self.values:
                seed = self.unreported[0]
                self.trial.report(self.values[seed], step=seed)
                self.unreported.pop(0)
                prunes = bool(self.waiting) and self.trial.should_prune()
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            log.warning("seed %d is not reported to the study yet: %s", seed, str(error).splitlines()[0])
        return prunes

    def wait_for_mean(self) -> float:
        """Return the mean over all seeds when no seed runs any more; raise what a run raised, or TrialPruned."""
        with self.changed:
            while self.n_running:
                if STOP.is_set():
                    raise KeyboardInterrupt
                self.changed.wait(1)
        if self.error:
            raise self.error
        if self.is_pruned:
            raise optuna.TrialPruned
        return statistics.fmean(self.values.values())
