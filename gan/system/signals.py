"""Signals that end a run before its time, while it does not train: as it reads its data or scores its last state."""

import os
import signal
import sys
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))  # Windows has the first two

early: set[int] = set()  # that training heeds when it begins
last_words: list[str] = []  # of a process that was told to end: a module half imported raises errors of its own


def catch_signals() -> None:
    """End this process in one line at a signal that would end it without a word; launchers' handlers stay.

    A process of several lets training decide, in which all of them take part: the others would wait for it.
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
    """Leave signals to the main process: a cluster sends them to its data workers too."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
