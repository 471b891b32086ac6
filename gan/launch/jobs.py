"""The parts that the launchers share: threads that wait for jobs, and how jobs end."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, JobStatus

from gan.errors import ProcessDied

# Variable by which processes share a service of W&B's. A run has its own: a shared one holds the id of a run that was
# killed, and refuses it when the run is started again.
WANDB_SERVICE = "WANDB_SERVICE"
STOP = threading.Event()  # once it is set, threads that wait for jobs raise KeyboardInterrupt


def run_in_threads(task: Callable[..., Any], *arguments: Iterable[Any], n_threads: int) -> list[Any]:
    """Return a task's results for each set of arguments, run in threads that all end when one raises, or at Ctrl-C."""
    with ThreadPoolExecutor(n_threads) as pool:
        futures = [pool.submit(task, *each) for each in zip(*arguments, strict=False)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures if future.done()]
        except BaseException:
            STOP.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def exit_now(status: int) -> NoReturn:
    """End this process without unloading its modules, which takes a second and which threads of others could block."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def fail_job(words: Sequence[str], reason: str) -> JobReturn:
    """Return Hydra's record of a failed job for one whose process died."""
    job = JobReturn(overrides=words, status=JobStatus.FAILED)
    job.return_value = ProcessDied(reason)
    return job
