"""Storages of studies: an SQL database, by its URL, or a file, by its path."""

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, SessionTransaction

from gan.errors import InputError
from gan.system.signals import hold_signals, in_main_thread

LOCK_TIMEOUT_S = 60  # for which sqlite waits for other writers
OUTAGE_S = 300  # for which a study that has begun waits for a database out of reach

log = logging.getLogger(__name__)


class Database(RDBStorage):
    """An SQL database in which no two processes take the same trial, and no signal cuts a transaction short.

    Other databases lock the rows that are about to change; sqlite must lock as soon as a transaction begins. The
    storage waits up to `patience_s` for a database that is out of reach; `reachable_since` is the time by
    `time.monotonic` at which the last such outage ended.
    """

    patience_s = 0.0
    reachable_since = 0.0

    def __init__(self, url: str) -> None:
        sqlite = url.startswith("sqlite")
        options = {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": None}} if sqlite else {}
        super().__init__(url, engine_kwargs=options | {"pool_pre_ping": True})
        event.listen(self.engine, "do_connect", self.connect)
        event.listen(self.engine, "begin", self.begin)
        event.listen(self.scoped_session, "after_transaction_create", self.hold_signals)
        event.listen(self.scoped_session, "after_transaction_end", self.release_signals)
        self.held = ExitStack()
        self.signals: list[int] = []

    def begin(self, connection: Connection) -> None:
        """Begin a transaction, with the lock for writers where rows have none."""
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def hold_signals(self, _: Session, transaction: SessionTransaction) -> None:
        """Let signals wait: an exception of a handler, such as Ctrl-C's, is lost in a driver or leaves a lock."""
        if transaction.parent is None and in_main_thread():
            self.signals = self.held.enter_context(hold_signals())

    def release_signals(self, _: Session, transaction: SessionTransaction) -> None:
        """Handle the signals that came during a transaction, now that its connection is back in the pool."""
        if transaction.parent is None and in_main_thread():
            self.held.close()

    def connect(self, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        """Return a new connection; raise InputError after `patience_s` without one, and stop waiting at a signal."""
        end, waited = time.monotonic() + self.patience_s, False
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.Error as error:
                if not self.patience_s or self.signals:
                    raise
                reason = " ".join(str(error).split())
                if time.monotonic() > end:
                    text = f"out of reach for {self.patience_s:g} s: {reason}; the same command resumes the study"
                    raise InputError(f"hydra.sweeper.storage={self.engine.url}: {text}") from error
                if not waited:
                    log.warning("the study's database is out of reach; waiting for it: %s", reason)
                waited = True
                time.sleep(1)
            else:
                if waited:
                    self.reachable_since = time.monotonic()
                return connection


class Journal(JournalStorage):
    """Optuna's journal, a file that machines may share by a network file system; no signal leaves it locked."""

    patience_s = reachable_since = 0.0  # files have no outages to wait for


for method in BaseStorage.__abstractmethods__:
    setattr(Journal, method, hold_signals()(getattr(Journal, method)))


def resolve_storage(storage: str, folder: str | Path) -> str:
    """Return a storage's URL or path for processes in any working folder: relative paths are below `folder`."""
    if "://" not in storage:
        return str(Path(folder, Path(storage).expanduser()))
    scheme, _, path = storage.partition(":///")
    is_file = scheme.startswith("sqlite") and path and not path.startswith((":", "file:"))
    return f"{scheme}:///{Path(folder, path)}" if is_file else storage


def open_storage(storage: str) -> Database | Journal:
    """Return the storage at a database's URL or, for anything that is no URL, at a journal's path.

    Raises InputError for a URL of no known kind of database, or one with a password, and for a path out of reach.
    """
    try:
        if "://" not in storage:
            Path(storage).parent.mkdir(parents=True, exist_ok=True)
            return Journal(JournalFileBackend(storage))
        url = make_url(storage)
        if url.password:
            raise InputError(
                f"hydra.sweeper.storage={url}: holds a password, which every run's files would repeat; leave it "
                "out, and set PGPASSWORD or write ~/.pgpass"
            )
        return Database(storage)
    except (ArgumentError, ImportError, OSError) as error:
        raise InputError(f"hydra.sweeper.storage={storage}: {error}") from error
