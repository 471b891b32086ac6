"""Errors that are the caller's to mend, and how they are shown: one line, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A setting, file or combination that cannot be trained: names the config key, its value and what is allowed."""


class Diverged(ArithmeticError):
    """Training left the finite numbers; the run's objective is inf."""


class Preempted(Exception):
    """The machine is wanted for something else; the run is saved, and goes on where it is started again."""


class ProcessDied(RuntimeError):
    """A run's process has ended without a result."""


def reason(error: BaseException) -> str | None:
    """Return one line for an error that the caller can mend, None for any other."""
    from hydra.errors import InstantiationException
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    cause: BaseException | None = error
    while cause is not None:  # Hydra wraps what a constructor raises
        if isinstance(cause, InputError | Preempted | MisconfigurationException):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    return " ".join(str(error).split()) if isinstance(error, InstantiationException) else None


@contextmanager
def exit_in_one_line() -> Iterator[None]:
    """End the process with one line and status 1 at an error that the caller can mend; others keep their traceback."""
    try:
        yield
    except Exception as error:
        line = reason(error)
        if line is None:
            raise
        sys.exit(f"error: {line}")
