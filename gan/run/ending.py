"""How a run ends that raised an error: on its own in one line, in a multirun as one failed run of several."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gan.errors import Preempted, exit_in_one_line, explain_error, find_reason
from gan.system.files import write_whole
from gan.system.memory import return_freed_memory
from gan.system.signals import catch_signals, last_words

TRACEBACK = "traceback.txt"  # in the folder of a run that failed with an unexpected error

log = logging.getLogger(__name__)


@contextmanager
def guard_run() -> Iterator[None]:
    """Turn signals into the end of the run in the block, report what it raises, and free its memory."""
    catch_signals()
    try:
        yield
    except Exception as error:
        end_run(error)
    finally:
        free_memory()


def free_memory() -> None:
    """Free the parts of a run of a multirun, which refer to each other, before the next one starts in this process."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return_freed_memory()


def end_run(error: Exception) -> NoReturn:
    """Exit with one line about an error, or raise it where Hydra or a launcher reports it."""
    if last_words:
        sys.exit(last_words[0])
    hydra = HydraConfig.get()
    is_job = hydra.runtime.choices["hydra/launcher"] != "basic"  # a process of its own
    if find_reason(error) is None:
        with suppress(OSError):
            write_whole(Path(hydra.runtime.output_dir, TRACEBACK), "".join(traceback.format_exception(error)))
    if hydra.mode != RunMode.MULTIRUN:
        if isinstance(error, Preempted) and int(os.environ.get("LOCAL_RANK", 0)):
            sys.exit()  # the first process reports it; Lightning would kill that one if this one failed
        with exit_in_one_line():
            raise error
    if not is_job and isinstance(error, Preempted):
        raise KeyboardInterrupt from error  # otherwise Hydra would start the next run in this process
    if not is_job and hydra.runtime.choices["hydra/sweeper"] == "basic":  # which reports the first failure only
        log.error(explain_error(error))
    raise error
