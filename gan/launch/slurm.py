"""Hydra's Submitit launcher for Slurm, for runs that are preempted or killed and resume."""

import dataclasses
import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

from gan.errors import Preempted
from gan.launch.jobs import STOP, WANDB_SERVICE, exit_now, fail_job
from gan.run.display import name_by_overrides, print_result

SUBMITTING = threading.Lock()  # all threads share the environment, which a submission changes
CLUSTER = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}  # of the cluster, not of a job

log = logging.getLogger(__name__)

REQUEUE_STATUS = 140  # exit status of a run that has saved its state; its batch script requeues it
CHECK_S = 20  # between questions to Slurm about all jobs; Submitit's own jobs ask every ten minutes


class ClusterLauncher(SlurmLauncher):
    """Submits runs as one array of jobs and returns the result of each; a job that fails fails alone.

    Options are those of hydra-submitit-launcher. A job's batch script (`setup`) puts it back into the queue when it was
    preempted or killed; it then keeps its folder and W&B run and resumes from its last checkpoint, and the launcher
    waits for it.
    """

    def __call__(self, sweep_overrides: list[str], *args: Any, **options: Any) -> JobReturn:
        words = [*sweep_overrides]
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")  # a first start finds none, and starts from scratch
        rank = int(os.environ.get("SLURM_PROCID", 0))
        if rank:  # the first process writes the folder's files
            words += ["hydra.output_subdir=null", "hydra.job_logging.handlers.file.filename=/dev/null"]
        job = super().__call__(words, *args, **options)
        try:
            _ = job.return_value
        except Preempted as reason:
            exit_for_requeue(reason)
        except Exception:
            if rank:  # the launcher reads the first process's result only
                log.exception("process %d failed", rank)
        return job

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        import submitit

        options = dict(self.params)
        folder = options.pop("submitit_folder")
        own = {f"slurm_{name}": options.pop(name) for name in ("max_num_timeout", "python")}
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", **own)
        shared = {field.name for field in dataclasses.fields(BaseQueueConf)}
        state = Singleton.get_state()
        numbered = enumerate(job_overrides, start=initial_job_idx)
        calls = [(list(words), "hydra.sweep.dir", number, str(number), state) for number, words in numbered]
        with SUBMITTING, submitit.helpers.clean_env(extra_names=[WANDB_SERVICE]):  # the launcher may itself be a job
            os.environ |= CLUSTER
            executor.update_parameters(**{k if k in shared else f"slurm_{k}": v for k, v in options.items()})
            jobs = executor.map_array(self, *zip(*calls, strict=True))
        if len(jobs) > 1:
            folder = shlex.quote(self.config.hydra.sweep.dir)
            log.info(
                "Slurm jobs %s continue without this command too: python scripts/sweep_state.py %s",
                format_array_id(jobs),
                folder,
            )
        try:
            return [*wait_for_jobs(jobs, job_overrides, initial_job_idx)]
        except KeyboardInterrupt:
            if len(jobs) == 1:  # the caller ends the command
                raise
            sys.exit("stopped waiting; the jobs continue")


def wait_for_jobs(jobs: list[Any], job_overrides: Sequence[Sequence[str]], first_number: int) -> Iterator[JobReturn]:
    """Yield the result of each job, and print it where there are several."""
    watcher = build_watcher()
    for job in jobs:
        watcher.register_job(job.job_id)
    names = name_by_overrides(job_overrides)
    for i, job in enumerate(jobs):
        returned = wait_for_job(job, job_overrides[i], watcher)
        if len(jobs) > 1:
            print_result(first_number + i, names[i], returned)
        yield returned


@cache
def build_watcher() -> Any:
    """Return the one watcher of this process, which asks Slurm about all jobs at once."""
    from submitit.slurm.slurm import SlurmInfoWatcher

    return SlurmInfoWatcher(delay_s=CHECK_S)


def wait_for_job(job: Any, words: Sequence[str], watcher: Any) -> JobReturn:
    """Wait for a job, however often it is put back into the queue, and return its first process's result.

    A failure counts when Slurm says that the job is over: the processes of a run fail when one of them is killed.
    """
    first = job.task(0)
    while True:
        over = watcher.is_done(job.job_id)
        if over or first.paths.result_pickle.exists():
            with suppress(Exception):
                if over:
                    first.done(force_check=True)  # else its result is waited for until Submitit's own watcher asks
                returned = first.result()
                if over or returned.status == JobStatus.COMPLETED:
                    return returned
        if over:
            state = watcher.get_state(job.job_id, mode="cache")
            return fail_job(words, f"Slurm job {job.job_id} ended as {state}; see {first.paths.stderr}")
        if STOP.wait(1):
            raise KeyboardInterrupt


def format_array_id(jobs: list[Any]) -> str:
    """Return the ids of one array as Slurm writes them: 17_[0-8]."""
    return f"{jobs[0].job_id.replace('_', '_[')}-{jobs[-1].job_id.split('_')[-1]}]"


def exit_for_requeue(reason: Preempted) -> None:
    """End this process of a preempted run, when all its processes are ready to, before Submitit files a result."""
    import torch.distributed as dist

    log.info("%s", reason)
    if dist.is_initialized():
        dist.barrier()
    exit_now(REQUEUE_STATUS)
