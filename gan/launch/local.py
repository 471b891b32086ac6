"""Hydra launcher for this machine: processes that share its cores and GPUs, and fail one by one."""

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from gan.launch.jobs import STOP, WANDB_SERVICE, exit_now, fail_job, run_in_threads
from gan.run.display import name_by_overrides, print_result
from gan.system.threads import divide_threads

POLL_S = 0.2  # between looks at a process
PRELOADED = ["wandb", "gan.launch.preloaded"]  # in this order: W&B's import looks through all imported modules
SERVER_ONLY = ("PYTHONPATH", "PYTHONSAFEPATH")  # variables that the fork server does not share with the command


class MachineLauncher(Launcher):
    """Runs `n_jobs` runs at a time, each a process with its share of the cores and, in turn, one of the GPUs.

    A process that dies is a failure of its run alone. When the command ends, by Ctrl-C or killed, its processes save
    their state and end. What run N prints is in `log_folder`/N.log, or N-seedS.log where the seed is swept. Needs Linux
    or macOS.

    On Linux the processes are forks of one that has imported torch and what else all runs need, the fork server.
    """

    def __init__(self, *, n_jobs: int, log_folder: str) -> None:
        self.n_jobs, self.log_folder = n_jobs, Path(log_folder)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if not hasattr(signal, "SIGUSR1"):
            sys.exit("error: hydra/launcher=local: needs Linux or macOS; without it, runs start one after another")
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.log_folder.mkdir(parents=True, exist_ok=True)
        self.threads = divide_threads(self.n_jobs)
        self.gpus: SimpleQueue[str] = SimpleQueue()
        for gpu in assign_gpus(self.n_jobs):
            self.gpus.put(gpu)
        self.starting = threading.Lock()
        # on macOS a fork may not use all libraries that are loaded
        self.context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            start_fork_server(self.threads)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        names = name_by_overrides(job_overrides)

        def run(number: int, words: Sequence[str], name: str) -> JobReturn:
            job = self.run_job(number, words)
            if len(job_overrides) > 1:
                print_result(number, name, job)
            return job

        return run_in_threads(run, count(initial_job_idx), job_overrides, names, n_threads=self.n_jobs)

    def run_job(self, number: int, words: Sequence[str]) -> JobReturn:
        """Start a job as soon as fewer than `n_jobs` are running, and wait for it."""
        gpu = self.gpus.get()
        try:
            seeds = [word.replace("=", "") for word in words if word.startswith("seed=")]  # a trial's, at the same time
            log = self.log_folder / f"{'-'.join([str(number), *seeds])}.log"
            variables = os.environ | {"OMP_NUM_THREADS": self.threads, "CUDA_VISIBLE_DEVICES": gpu}
            parts = Singleton.get_state(), self.hydra_context, self.task_function, self.config, list(words), number
            result, sender = self.context.Pipe(duplex=False)
            options = str(log), variables, multiprocessing.get_start_method(), cloudpickle.dumps(parts), sender
            process = self.context.Process(target=become_job, args=options)
            with self.starting:
                if STOP.is_set():
                    raise KeyboardInterrupt
                try:
                    process.start()
                except (EOFError, OSError) as error:  # the fork server has died, or there is no room for a process
                    return fail_job(words, f"its process did not start: {type(error).__name__}: {error}")
            sender.close()  # so that the process alone has it open
            while not result.poll(POLL_S):
                if STOP.is_set():
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGUSR1)
                    raise KeyboardInterrupt
            job = fail_job(words, f"process {process.pid} died; see {log}")
            with suppress(Exception):  # EOFError, or what an error of the run's raises when it is unpickled
                job = pickle.loads(result.recv_bytes())
            process.join()
            return job
        finally:
            self.gpus.put(gpu)


def start_fork_server(threads: str) -> None:
    """Start the process that runs are forks of; what it imports, it finds where this process does.

    Ctrl-C does not reach it, nor its forks. Exits in one line where there is no place for its socket.
    """
    forkserver.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # its start would unblock SIGINT
    variables, mask = dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ |= {"OMP_NUM_THREADS": threads, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        forkserver.ensure_running()
    except OSError as error:
        sys.exit(f"error: TMPDIR={tempfile.gettempdir()}: hydra/launcher=local needs a socket there: {error}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.clear()
        os.environ.update(variables)


def assign_gpus(n_jobs: int) -> list[str]:
    """Return the GPU of each of `n_jobs` processes, as in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible is not None else [str(i) for i in range(torch.cuda.device_count())]
    return [gpus[i % len(gpus)] if gpus else "" for i in range(n_jobs)]


def become_job(log: str, variables: dict[str, str], start_method: str, parts: bytes, sender: Connection) -> None:
    """Be the process of one run: write what it prints into a file, and send its result.

    `start_method` is that of processes which it starts itself, such as data workers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the command's
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
        stream.reconfigure(line_buffering=True)
    multiprocessing.set_start_method(start_method, force=True)
    for name in SERVER_ONLY:
        os.environ.pop(name, None)
    os.environ.update(variables)
    os.environ.pop(WANDB_SERVICE, None)
    threading.Thread(target=preempt_after_command, daemon=True).start()
    status = 1
    try:
        sender.send_bytes(cloudpickle.dumps(run_pickled_job(parts)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        exit_now(status)  # multiprocessing would wait for data workers, which ignore signals


def run_pickled_job(parts: bytes) -> JobReturn:
    """Run a job from its pickled parts, as Hydra's basic launcher does."""
    state, hydra_context, task_function, config, words, number = pickle.loads(parts)
    Singleton.set_state(state)
    setup_globals()
    config = hydra_context.config_loader.load_sweep_config(config, words)
    with open_dict(config.hydra.job) as job:
        job.id, job.num = str(number), number
    return run_job(task_function, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context)


def preempt_after_command() -> None:
    """Wait for the end of the command that has started this process, then make the process save its state and end."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGUSR1)
