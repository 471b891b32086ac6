"""Hydra's Submitit launcher for this machine: processes that share its cores and GPUs, and die alone."""

import atexit
import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import NamedTemporaryFile
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher

from gan.errors import ProcessDied
from gan.run.display import name_by_overrides, print_result

ENDING = threading.Event()  # whoever waits for jobs stops waiting


class MachineLauncher(LocalLauncher):
    """Runs `n_jobs` runs at a time, each a process with its share of the cores and, in turn, one of the GPUs.

    A process that dies is a failure of its run alone. When the command ends, by Ctrl-C or killed, its processes save
    what they have, and end.
    """

    def __init__(self, *, n_jobs: int, **params: Any) -> None:
        super().__init__(**params)
        self.n_jobs = n_jobs

    def setup(self, **context: Any) -> None:
        super().setup(**context)
        self.places: SimpleQueue[dict[str, str]] = SimpleQueue()
        for place in shares(self.n_jobs):
            self.places.put(place)
        self.pulse = NamedTemporaryFile(prefix="gan-sweeps-")  # noqa: SIM115, it lives and dies with this process
        fcntl.flock(self.pulse, fcntl.LOCK_EX)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("places", "pulse")}

    def __call__(self, words: list[str], *job: Any, place: dict[str, str], pulse: str) -> JobReturn:
        os.environ |= place  # before anything looks for GPUs
        atexit.register(leave)  # before anything of the run's, so that it comes last
        threading.Thread(target=end_with, args=(pulse,), daemon=True).start()
        try:
            return super().__call__(words, *job)
        except BaseException:  # SystemExit, whose status may say that the process is to be started again
            atexit.unregister(leave)
            raise

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        names = name_by_overrides(job_overrides)

        def run(number: int, words: Sequence[str], name: str) -> JobReturn:
            job = self.run(number, words)
            if len(job_overrides) > 1:
                print_result(number, name, job)
            return job

        return together(run, count(initial_job_idx), job_overrides, names, n_threads=self.n_jobs)

    def run(self, number: int, words: Sequence[str]) -> JobReturn:
        """Start a job when there is room for it, and wait for it."""
        import submitit

        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of its processes: Ctrl-C is the command's
        place = self.places.get()
        try:
            options = dict(self.params)
            # a folder named by the process may not be there yet when the process wants to write into it
            folder = options.pop("submitit_folder").replace("%j", str(number))
            executor = submitit.AutoExecutor(folder=folder, cluster="local")
            executor.update_parameters(**options)
            call = list(words), "hydra.sweep.dir", number, str(number), Singleton.get_state()
            job = executor.submit(self, *call, place=place, pulse=self.pulse.name)
            while not job.done():
                if ENDING.wait(0.2):
                    raise KeyboardInterrupt
            with suppress(Exception):
                return job.result()
            return failed(words, f"process {job.job_id} died; see {job.paths.stderr}")
        finally:
            self.places.put(place)


def shares(n_jobs: int) -> list[dict[str, str]]:
    """Return the environment of each of so many processes: how many threads, and which GPU."""
    import torch
    from joblib import cpu_count

    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cpu_count() // n_jobs))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible is not None else [str(i) for i in range(torch.cuda.device_count())]
    return [
        {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)] if gpus else ""} for i in range(n_jobs)
    ]


def end_with(pulse: str) -> None:
    """Tell this process to save itself and end once the command that has locked a file is no more, however it ended."""
    with suppress(FileNotFoundError), Path(pulse).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    os.kill(os.getpid(), signal.SIGUSR1)


def leave(status: int = 0) -> None:
    """End this process as it is: to take all its modules apart takes a second, and threads of others could keep it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def together(task: Callable[..., Any], *arguments: Iterable[Any], n_threads: int) -> list[Any]:
    """Return a task's results for each set of arguments, run in threads that all end when one raises, or at Ctrl-C."""
    with ThreadPoolExecutor(n_threads) as pool:
        futures = [pool.submit(task, *each) for each in zip(*arguments, strict=False)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            return [future.result() for future in futures if future.done()]
        except BaseException:
            ENDING.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def failed(words: Sequence[str], reason: str) -> JobReturn:
    """Return what Hydra takes for a job that has failed."""
    job = JobReturn(overrides=words, status=JobStatus.FAILED)
    job.return_value = ProcessDied(reason)
    return job
