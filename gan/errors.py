"""Errors that are the caller's to mend, and how they are shown: one line, without a traceback."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR", "0").lower() not in ("", "0", "false")  # as for Hydra's errors
MACHINE = {  # what a machine refuses, and the remedy
    errno.ENOSPC: "the disk is full; make room, then resume=FOLDER continues the run",
    errno.EDQUOT: "the disk quota is used up; make room, then resume=FOLDER continues the run",
    errno.EROFS: "the file system is read-only; choose another folder by hydra.run.dir",
    errno.EACCES: "no permission; choose another folder, or have it allowed",
    errno.EPERM: "not permitted; choose another folder, or have it allowed",
    errno.ENOTDIR: "a file is where a folder must be; move it, or choose another folder",
    errno.EEXIST: "a file is where a folder must be; move it, or choose another folder",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.EIO: "the disk or the network failed to read or write",
    errno.ENOMEM: "out of memory; use a smaller data.batch_size or narrower networks",
}
NO_MEMORY = ("can't allocate memory", "out of memory", "bad allocation", "CUBLAS_STATUS_ALLOC_FAILED")  # of torch
NO_SPACE = ("file write failed", "No space left on device")  # of torch and safetensors, which hide the number


class InputError(ValueError):
    """A setting, file or combination that cannot be trained: names the config key, its value and what is allowed."""


class Diverged(ArithmeticError):
    """Training left the finite numbers; the run's objective is inf."""


class Preempted(Exception):
    """The machine is wanted for something else; the run is saved, and goes on where it is started again."""


class ProcessDied(RuntimeError):
    """A run's process has ended without a result."""


def find_reason(error: BaseException) -> str | None:
    """Return one line for an error that the caller can mend, None for any other."""
    from hydra.errors import InstantiationException
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    cause: BaseException | None = error
    while cause is not None:  # Hydra wraps what a constructor raises
        if isinstance(cause, InputError | Preempted | MisconfigurationException):
            return " ".join(str(cause).split())
        refused = explain_machine_error(cause)
        if refused:
            return refused
        cause = cause.__cause__
    return " ".join(str(error).split()) if isinstance(error, InstantiationException) else None


def explain_machine_error(error: BaseException) -> str | None:
    """Return one line, with the remedy, for what the machine refuses: room on a disk, a file, memory; else None."""
    text = " ".join(str(error).split())
    is_ours = isinstance(error, OSError | RuntimeError | MemoryError) or type(error).__name__ == "SafetensorError"
    if not is_ours:
        return None
    code = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        code = errno.ENOMEM
    elif code is None and any(words in text for words in NO_SPACE):
        code = errno.ENOSPC
    if code not in MACHINE:
        return None
    names = dict.fromkeys(str(name) for name in (getattr(error, n, None) for n in ("filename", "filename2")) if name)
    return f"{MACHINE[code]} ({', '.join(names) or text[:150] or type(error).__name__})"


def explain_error(error: BaseException) -> str:
    """Return one line for any error; of one that nobody foresaw, its type and how to see where it came from."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    line = find_reason(error)
    if line is not None:
        return line
    if isinstance(error, HydraException):
        parts = [str(error).partition("Config search path:")[0]]
        parts += [str(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return " ".join(" ".join(parts).split())
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]} (HYDRA_FULL_ERROR=1 shows where)"


@contextmanager
def exit_in_one_line() -> Iterator[None]:
    """End the process with one line and status 1 at an error or Ctrl-C; HYDRA_FULL_ERROR shows an error's traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        sys.exit(f"stopped: {error.__cause__ or 'what has been saved is kept'}")
    except Exception as error:
        if WANTS_TRACEBACK:
            raise
        sys.exit(f"{'stopped' if isinstance(error, Preempted) else 'error'}: {explain_error(error)}")
