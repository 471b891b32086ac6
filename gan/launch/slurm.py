"""Hydra's Submitit launcher for Slurm, for runs that are preempted or killed and go on."""

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
from gan.launch.local import ENDING, failed, leave
from gan.run.display import name_by_overrides, print_result

SUBMITTING = threading.Lock()  # the environment is every thread's
CLUSTER = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}  # where it is, of no job

log = logging.getLogger(__name__)

SAVED = 140  # exit status of a run that has saved itself; the batch script puts it back into the queue
CHECK_S = 20  # between questions to Slurm about all jobs


class ClusterLauncher(SlurmLauncher):
    """Submits runs as one array of jobs and returns what became of each, be it a failure.

    Options are those of hydra-submitit-launcher. A job's batch script (`setup`) puts it back into the queue when it was
    preempted or killed; it then keeps its folder and W&B run, goes on from its last checkpoint, and is waited for.
    """

    def __call__(self, sweep_overrides: list[str], *args: Any, **options: Any) -> JobReturn:
        words = [*sweep_overrides]
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")
        rank = int(os.environ.get("SLURM_PROCID", 0))
        if rank:  # the first process writes the folder's files
            words += ["hydra.output_subdir=null", "hydra.job_logging.handlers.file.filename=/dev/null"]
        job = super().__call__(words, *args, **options)
        if rank and job.status == JobStatus.FAILED:  # of which the launcher hears nothing
            log.error("process %d failed", rank, exc_info=job._return_value)
        if isinstance(job._return_value, Preempted):
            requeue(job._return_value)
        return job

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        import submitit

        watch_often()
        options = dict(self.params)
        folder = options.pop("submitit_folder")
        own = {f"slurm_{name}": options.pop(name) for name in ("max_num_timeout", "python")}
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", **own)
        shared = BaseQueueConf.__dataclass_fields__
        state = Singleton.get_state()
        numbered = enumerate(job_overrides, start=initial_job_idx)
        calls = [(list(words), "hydra.sweep.dir", number, str(number), state) for number, words in numbered]
        with SUBMITTING, submitit.helpers.clean_env():  # the launcher may itself be a job
            os.environ |= CLUSTER
            executor.update_parameters(**{k if k in shared else f"slurm_{k}": v for k, v in options.items()})
            jobs = executor.map_array(self, *zip(*calls, strict=True))
        if len(jobs) > 1:
            place = shlex.quote(self.config.hydra.sweep.dir)
            log.info(
                "Slurm jobs %s go on without this command too: python scripts/sweep_state.py %s", span(jobs), place
            )
        try:
            return [*self.collected(jobs, job_overrides, initial_job_idx)]
        except KeyboardInterrupt:
            if len(jobs) == 1:  # its caller's to end
                raise
            sys.exit("not waiting any more; the jobs go on")

    @staticmethod
    def collected(jobs: list[Any], job_overrides: Sequence[Sequence[str]], number: int) -> Iterator[JobReturn]:
        """Give what becomes of each job, and show it for several."""
        for job, words, name in zip(jobs, job_overrides, name_by_overrides(job_overrides), strict=True):
            returned = outcome(job, words)
            if len(jobs) > 1:
                print_result(number, name, returned)
            number += 1
            yield returned


def span(jobs: list[Any]) -> str:
    """Return the ids of one array as Slurm writes them: 17_[0-8]."""
    return f"{jobs[0].job_id.replace('_', '_[')}-{jobs[-1].job_id.split('_')[-1]}]"


@cache
def watch_often() -> None:
    """Ask Slurm every CHECK_S whether jobs still live; Submitit asks ever less often, up to every ten minutes."""
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    SlurmJob.watcher = SlurmInfoWatcher(delay_s=CHECK_S)


def requeue(reason: Preempted) -> None:
    """End this process of a preempted run, when all its processes are ready to, before Submitit files a result."""
    import torch.distributed as dist

    log.info("%s", reason)
    if dist.is_initialized():
        dist.barrier()
    leave(SAVED)


def outcome(job: Any, words: Sequence[str]) -> JobReturn:
    """Wait for a job, however often it is put back into the queue, and return its first process's result.

    A failure counts when Slurm says that the job is over: the processes of a run fail when one of them is killed.
    """
    first = job.task(0)
    while True:
        over = job.watcher.is_done(job.job_id)
        if over or first.paths.result_pickle.exists():
            with suppress(Exception):
                returned = first.result()
                if over or returned.status == JobStatus.COMPLETED:
                    return returned
        if over:
            state, place = job.watcher.get_state(job.job_id, mode="cache"), first.paths.stderr
            return failed(words, f"Slurm job {job.job_id} ended as {state}; see {place}")
        if ENDING.wait(1):
            raise KeyboardInterrupt
