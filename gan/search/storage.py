"""Where a study lies: an SQL database, by its URL, or a file, by its path; and who of its trials is alive."""

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError

from gan.errors import InputError
from gan.search.trials import Retry

BEAT = "heartbeat"  # a trial's system attribute, another number at each sign of life
LOCK_TIMEOUT_S = 60  # that sqlite waits for other writers
PATIENCE_S = 300  # that a study which has begun waits for a database out of reach

log = logging.getLogger(__name__)


class Heartbeats(BaseHeartbeat):
    """Signs of life in a trial's attributes: it is stale when none has come for three `heartbeat_s`.

    They are counted by the clock of the process that looks, from when it first looked, so that neither clocks that
    differ, nor a sleep of the whole machine, nor a trial that died before its first sign, make a difference.
    """

    heartbeat_s: int
    max_retries: int

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(UpdateFinishedTrialError, StorageInternalError, InputError):  # given up by another; out of reach
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

    def get_heartbeat_stale_trial_callback(self) -> Retry:
        return Retry(self.max_retries)


class Database(Heartbeats, RDBStorage):
    """An SQL database with signs of life, in which no two processes take the same trial.

    Other databases lock the rows that are about to change; sqlite must lock as soon as a transaction begins. A database
    that is away for up to `patience_s` is waited for.
    """

    patience_s = 0.0

    def __init__(self, url: str) -> None:
        sqlite = url.startswith("sqlite")
        options = {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}} if sqlite else {}
        super().__init__(url, engine_kwargs=options | {"pool_pre_ping": True})
        event.listen(self.engine, "do_connect", self.connect)
        if sqlite:
            event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    def connect(self, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        """Return a new connection, when there is one to be had; raise InputError when that takes too long."""
        end, waited = time.monotonic() + self.patience_s, False
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.Error as error:
                if not self.patience_s:
                    raise
                reason = " ".join(str(error).split())
                if time.monotonic() > end:
                    text = f"out of reach for {self.patience_s:g} s: {reason}; the same command goes on"
                    raise InputError(f"hydra.sweeper.storage={self.engine.url}: {text}") from error
                if not waited:
                    log.warning("the study's database is out of reach, and waited for: %s", reason)
                waited, self.seen = True, {}  # nobody could give signs of life meanwhile
                time.sleep(1)


class Journal(Heartbeats, JournalStorage):
    """Optuna's journal, a file that machines may share by a network file system, with signs of life."""


def find_absolute(place: str, folder: str | Path) -> str:
    """Return a storage's place for processes in any working folder: relative paths are below `folder`."""
    if "://" not in place:
        return str(Path(folder, Path(place).expanduser()))
    scheme, _, path = place.partition(":///")
    is_file = scheme.startswith("sqlite") and path and not path.startswith((":", "file:"))
    return f"{scheme}:///{Path(folder, path)}" if is_file else place


def opened(place: str, heartbeat_s: int = 10, max_retries: int = 2) -> Database | Journal:
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
    storage.heartbeat_s, storage.max_retries = heartbeat_s, max_retries
    return storage
