"""How a run that has raised ends: alone in one line, in a multirun as one failure among its runs."""

import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gan.errors import Preempted, exit_in_one_line, explain_error, find_reason
from gan.system.files import write_whole
from gan.system.signals import last_words

TRACEBACK = "traceback.txt"  # in the folder of a run that failed in a way that nobody foresaw

log = logging.getLogger(__name__)


def end_run(error: Exception) -> NoReturn:
    """Raise what ends this run, or exit where other processes of it say why."""
    if last_words:
        sys.exit(last_words[0])
    hydra, is_job = HydraConfig.get(), "SUBMITIT_EXECUTOR" in os.environ
    if find_reason(error) is None:
        with suppress(OSError):
            write_whole(Path(hydra.runtime.output_dir, TRACEBACK), "".join(traceback.format_exception(error)))
    if hydra.mode != RunMode.MULTIRUN:
        if isinstance(error, Preempted) and int(os.environ.get("LOCAL_RANK", 0)):
            sys.exit()  # the first process says it; Lightning would kill that one for a failure of this one
        with exit_in_one_line():
            raise error
    if not is_job and isinstance(error, Preempted):
        raise KeyboardInterrupt from error  # Hydra would go on with the next run in this process
    if not is_job and hydra.sweeper._target_.endswith(".BasicSweeper"):  # which says why the first failed, in the end
        log.error(explain_error(error))
    raise error
