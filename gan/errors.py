"""Errors that the user can fix, and how they are shown: in one line, without a traceback."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR", "0").lower() not in ("", "0", "false")  # as for Hydra's errors
REMEDIES = {  # of what the machine refuses
    errno.ENOSPC: "the disk is full; make room, then resume=FOLDER continues the run",
    errno.EDQUOT: "the disk quota is used up; make room, then resume=FOLDER continues the run",
    errno.EROFS: "the file system is read-only; choose another folder by hydra.run.dir",
    errno.EACCES: "no permission; choose another folder, or ask for permission",
    errno.EPERM: "not permitted; choose another folder, or ask for permission",
    errno.ENOTDIR: "a file is where a folder must be; move it, or choose another folder",
    errno.EEXIST: "a file is where a folder must be; move it, or choose another folder",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.EIO: "the disk or the network failed to read or write",
    errno.ENOMEM: "out of memory; use a smaller data.batch_size or narrower networks",
}
NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "bad allocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
)  # of torch
NO_SPACE = ("file write failed", "No space left on device")  # messages of torch and safetensors, which have no errno


class InputError(ValueError):
    """A setting, a file or a combination that the user must change: names the key, its value and what is allowed."""


class Diverged(ArithmeticError):
    """A loss or a sample became non-finite; the run's objective is inf."""


class Preempted(Exception):
    """The machine is needed for something else; the run is saved, and resumes when it is started again."""


class ProcessDied(RuntimeError):
    """A run's process ended without a result."""


def find_reason(error: BaseException) -> str | None:
    """Return one line for an error that the user can fix, None for any other."""
    from hydra.errors import InstantiationException
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    cause: BaseException | None = error
    while cause is not None:  # Hydra wraps what a constructor raises
        if isinstance(cause, InputError | Preempted | MisconfigurationException):
            return " ".join(str(cause).split())
        line = explain_machine_error(cause)
        if line:
            return line
        cause = cause.__cause__
    return " ".join(str(error).split()) if isinstance(error, InstantiationException) else None


def explain_machine_error(error: BaseException) -> str | None:
    """Return one line with a remedy for a lack of disk space, memory or permission, None for any other error."""
    text = " ".join(str(error).split())
    is_candidate = isinstance(error, OSError | RuntimeError | MemoryError) or type(error).__name__ == "SafetensorError"
    if not is_candidate:
        return None
    code = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        code = errno.ENOMEM
    elif code is None and any(words in text for words in NO_SPACE):
        code = errno.ENOSPC
    if code not in REMEDIES:
        return None
    names = dict.fromkeys(str(name) for name in (getattr(error, n, None) for n in ("filename", "filename2")) if name)
    return f"{REMEDIES[code]} ({', '.join(names) or text[:150] or type(error).__name__})"


def explain_error(error: BaseException) -> str:
    """Return one line for any error; for an unexpected one, its type and how to see its traceback."""
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
    return f"{type(error).__name__}: {text[:500]} (HYDRA_FULL_ERROR=1 shows the traceback)"


@contextmanager
def exit_in_one_line() -> Iterator[None]:
    """End the process with one line and status 1 at an error or Ctrl-C; HYDRA_FULL_ERROR=1 shows the traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one does not wait for the runs' processes
        sys.exit(f"stopped: {error.__cause__ or 'what was saved stays'}")
    except Exception as error:
        if WANTS_TRACEBACK:
            raise
        sys.exit(f"{'stopped' if isinstance(error, Preempted) else 'error'}: {explain_error(error)}")
