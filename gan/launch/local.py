"""Hydra's Submitit launcher for this machine: processes that share its cores and GPUs, and fail one by one."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import NamedTemporaryFile
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher

from gan.launch.jobs import STOP, WANDB_SERVICE, exit_now, fail_job, run_in_threads
from gan.run.display import name_by_overrides, print_result
from gan.system.threads import divide_threads

POLL_S = 0.2  # between looks at a process


class MachineLauncher(LocalLauncher):
    """Runs `n_jobs` runs at a time, each a process with its share of the cores and, in turn, one of the GPUs.

    A process that dies is a failure of its run alone. When the command ends, by Ctrl-C or killed, its processes save
    their state and end. Needs Linux or macOS.
    """

    def __init__(self, *, n_jobs: int, **params: Any) -> None:
        super().__init__(**params)
        self.n_jobs = n_jobs

    def setup(self, **context: Any) -> None:
        super().setup(**context)
        self.environments: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in worker_environments(self.n_jobs):
            self.environments.put(environment)
        self.command_lock = lock_file()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("environments", "command_lock")}

    def __call__(self, words: list[str], *job: Any, environment: dict[str, str], command_lock: str) -> JobReturn:
        os.environ |= environment  # before anything looks for GPUs
        os.environ.pop(WANDB_SERVICE, None)
        atexit.register(exit_now)  # before anything of the run's, so that it comes last
        threading.Thread(target=preempt_after_command, args=(command_lock,), daemon=True).start()
        try:
            return super().__call__(words, *job)
        except BaseException:  # SystemExit, whose status may ask Submitit to start the process again
            atexit.unregister(exit_now)
            raise

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        names = name_by_overrides(job_overrides)

        def run(number: int, words: Sequence[str], name: str) -> JobReturn:
            job = self.run_job(number, words)
            if len(job_overrides) > 1:
                print_result(number, name, job)
            return job

        return run_in_threads(run, count(initial_job_idx), job_overrides, names, n_threads=self.n_jobs)

    def run_job(self, number: int, words: Sequence[str]) -> JobReturn:
        """Start a job as soon as one of the `n_jobs` environments is free, and wait for it."""
        import submitit

        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # its processes inherit it: Ctrl-C is the command's
        environment = self.environments.get()
        try:
            options = dict(self.params)
            # a folder named by the process may not exist yet when the process wants to write into it
            folder = options.pop("submitit_folder").replace("%j", str(number))
            executor = submitit.AutoExecutor(folder=folder, cluster="local")
            executor.update_parameters(**options)
            call = list(words), "hydra.sweep.dir", number, str(number), Singleton.get_state()
            job = executor.submit(self, *call, environment=environment, command_lock=self.command_lock.name)
            while not job.done():
                if STOP.wait(POLL_S):
                    raise KeyboardInterrupt
            with suppress(Exception):
                return job.result()
            return fail_job(words, f"process {job.job_id} died; see {job.paths.stderr}")
        finally:
            self.environments.put(environment)


def worker_environments(n_jobs: int) -> list[dict[str, str]]:
    """Return the environment variables of each of `n_jobs` processes: its number of threads, and its GPU."""
    import torch

    threads = divide_threads(n_jobs)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible is not None else [str(i) for i in range(torch.cuda.device_count())]
    return [
        {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)] if gpus else ""} for i in range(n_jobs)
    ]


def lock_file() -> Any:
    """Return a new file that this process locks: the system opens the lock when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:
        sys.exit("error: hydra/launcher=local: needs Linux or macOS; without it, runs start one after another")
    file = NamedTemporaryFile(prefix="gan-sweeps-")  # noqa: SIM115, it exists as long as this process
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def preempt_after_command(command_lock: str) -> None:
    """Wait for the end of the command that has locked a file, then make this process save its state and end."""
    import fcntl

    with suppress(FileNotFoundError), Path(command_lock).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    os.kill(os.getpid(), signal.SIGUSR1)
