"""Where a study lies: an SQL database, by its URL, or a file, by its path; and who of its trials is alive."""

import time
from contextlib import suppress
from pathlib import Path

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError

from gan.errors import InputError

BEAT = "heartbeat"  # a trial's system attribute, another number at each sign of life
LOCK_TIMEOUT_S = 60  # that sqlite waits for other writers


class Heartbeats(BaseHeartbeat):
    """Signs of life in a trial's attributes: it is stale when none has come for three `heartbeat_s`.

    They are counted by the clock of the process that looks, from when it first looked, so that neither clocks that
    differ, nor a sleep of the whole machine, nor a trial that died before its first sign, make a difference.
    """

    heartbeat_s: int

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(UpdateFinishedTrialError, StorageInternalError):  # given up by another process; out of reach
            self.set_trial_system_attr(trial_id, BEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        now, before = time.monotonic(), getattr(self, "seen", {})
        trials = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        beats = {trial._trial_id: trial.system_attrs.get(BEAT) for trial in trials}
        since = {key: before[key][1] if before.get(key, ())[:1] == (beat,) else now for key, beat in beats.items()}
        self.seen = {key: (beat, since[key]) for key, beat in beats.items()}
        return [key for key in beats if now - since[key] > 3 * self.heartbeat_s]

    def get_heartbeat_interval(self) -> int:
        return self.heartbeat_s

    def get_heartbeat_stale_trial_callback(self) -> RetryHeartbeatStaleTrialCallback:
        return RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)


class Database(Heartbeats, RDBStorage):
    """An SQL database with signs of life, in which no two processes take the same trial.

    Other databases lock the rows that are about to change; sqlite must lock as soon as a transaction begins.
    """

    def __init__(self, url: str) -> None:
        sqlite = url.startswith("sqlite")
        waits = {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}} if sqlite else {}
        super().__init__(url, engine_kwargs=waits)
        if sqlite:
            event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


class Journal(Heartbeats, JournalStorage):
    """Optuna's journal, a file that machines may share by a network file system, with signs of life."""


def opened(place: str, heartbeat_s: int = 10) -> Database | Journal:
    """Return the storage at a database's URL or, for anything that is no URL, at a journal's path.

    Raises InputError for a URL of no known kind of database, or one with a password, and for a path out of reach.
    """
    try:
        if "://" not in place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            storage = Journal(JournalFileBackend(place))
        else:
            url = make_url(place)
            if url.password:
                raise InputError(
                    f"hydra.sweeper.storage={url}: holds a password, which every run's files would repeat; leave it "
                    "out, and set PGPASSWORD or write ~/.pgpass"
                )
            storage = Database(place)
    except (ArgumentError, ImportError, OSError) as error:
        raise InputError(f"hydra.sweeper.storage={place}: {error}") from error
    storage.heartbeat_s = heartbeat_s
    return storage
