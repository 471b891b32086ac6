"""Signs of life of running trials, by which other processes see whose process has died."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import InputError
from gan.search.storage import Database, Journal
from gan.search.trials import BEAT

SILENT_INTERVALS = 3  # after which a trial counts as dead


class Heartbeats:
    """Writes a new value into a running trial's attributes every `interval_s`, and finds trials that get none.

    Silence is counted by the clock of the process that looks, from when it first looked, so that neither clocks that
    differ, nor a sleep of the whole machine, nor a trial that died before its first sign, make a difference.
    """

    def __init__(self, study: optuna.Study, storage: Database | Journal, *, interval_s: float) -> None:
        self.study, self.storage, self.interval_s = study, storage, interval_s
        self.seen: dict[int, tuple[float | None, float]] = {}  # a trial's last value, and when it was first seen

    @contextmanager
    def send(self, trial: Trial) -> Iterator[None]:
        """Give signs of life of a trial while the block runs."""
        ended = threading.Event()

        def send_until_ended() -> None:
            while not ended.wait(self.interval_s):
                self.send_once(trial)

        self.send_once(trial)
        thread = threading.Thread(target=send_until_ended, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def send_once(self, trial: Trial) -> None:
        """Give one sign of life; one for a trial that has ended, or to a storage out of reach, is no error."""
        with suppress(UpdateFinishedTrialError, StorageInternalError, SQLAlchemyError, InputError, OSError):
            trial.set_user_attr(BEAT, time.time())

    def find_silent_trials(self) -> list[FrozenTrial]:
        """Return the running trials without a sign of life for SILENT_INTERVALS, not counting a storage's outage."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        now = time.monotonic()  # after an outage, if there was one
        beats = {trial.number: trial.user_attrs.get(BEAT) for trial in trials}
        before = self.seen
        self.seen = {
            number: before[number] if number in before and before[number][0] == beat else (beat, now)
            for number, beat in beats.items()
        }
        limit = SILENT_INTERVALS * self.interval_s
        since = {number: max(first, self.storage.reachable_since) for number, (_, first) in self.seen.items()}
        return [trial for trial in trials if now - since[trial.number] > limit]
