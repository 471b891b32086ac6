"""Signals that end a run early while it is not training, or that wait until something is whole."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has the first two

early: set[int] = set()  # signals that training obeys when it begins
last_words: list[str] = []  # of a process that a signal ends: a half imported module raises errors of its own


def catch_signals() -> None:
    """End this process with one line at a signal that would end it silently; handlers of launchers stay.

    A process of several leaves the decision to training, which all of them reach: the others would wait for it.
    """
    owner = os.getpid()

    def end(number: int, _: Any) -> None:
        if os.getpid() != owner:
            return  # a data worker's
        if "LOCAL_RANK" in os.environ:  # one of several
            early.add(number)
            return
        name = signal.Signals(number).name
        last_words.append(f"stopped: {name} came while the run did not train; ckpt_path=last continues its last save")
        sys.exit(last_words[0])

    early.clear()
    last_words.clear()
    for number in SIGNALS[1:]:  # Ctrl-C has its exception
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def ignore_signals(_: int) -> None:
    """Ignore signals in a data worker: a cluster sends them to all processes, and the main one handles them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def in_main_thread() -> bool:
    """Return whether this is the thread in which handlers of signals run."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def hold_signals() -> Iterator[list[int]]:
    """Let signals wait until the block has ended, so that no handler's exception comes in the middle of it.

    Yields the list of those that came. Only the main thread holds signals: in others no handler runs.
    """
    received: list[int] = []
    if not in_main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: received.append(number))
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)
