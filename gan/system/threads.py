"""The number of threads of a run, chosen by how busy the machine is: before torch is imported, and later."""

import os
import sys
import time
from functools import cache

CHOSEN = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # by which users choose
SAMPLE_S = 0.3
TOLERATED_CORES = 0.5  # busy with other work, while all cores are still used
# what more threads must gain, in cores and as a share of the threads: results differ after each change
LEAST_GAIN, LEAST_SHARE = 0.8, 0.1

variables_set: set[str] = set()  # by this process, and not by the user


def choose_threads() -> str | None:
    """Set the number of threads to the number of free cores, at least one; return a line that says so.

    The threads of one operation wait for each other. On busy cores they wait for the slowest one, and several threads
    are then many times slower than one. Returns None where there is nothing to choose: on one core, and where an
    environment variable has chosen.
    """
    n_cores = count_cores()
    if n_cores == 1 or has_user_chosen():
        return None
    if "torch" in sys.modules:  # a later run of this process
        n_cores = count_most_threads()
    n_free = count_free_cores(count_busy_cores(), n_cores)
    n_threads = fit_threads(n_cores, n_free, n_cores)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)
    elif n_threads < n_cores or is_limited():
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
        variables_set.add("OMP_NUM_THREADS")
    return describe_threads(n_threads, n_cores, n_free)


def divide_threads(n_jobs: int) -> str:
    """Return the number of threads of each of `n_jobs` processes: the user's, or a share of the cores that are free."""
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen and "OMP_NUM_THREADS" not in variables_set:
        return chosen
    import torch
    from joblib import cpu_count

    return str(max(1, min(cpu_count() // n_jobs, torch.get_num_threads())))


def fit_threads(n_threads: int, n_free: float, n_most: int) -> int:
    """Return the number of threads for so many free cores: the same number unless another one is clearly better."""
    if n_free < n_threads - TOLERATED_CORES or n_free > n_threads + max(LEAST_GAIN, LEAST_SHARE * n_threads):
        return min(n_most, max(1, round(n_free)))
    return n_threads


def describe_threads(n_threads: int, n_cores: int, n_free: float) -> str:
    """Return the number of threads as a line for the terminal."""
    threads = "thread" if n_threads == 1 else "threads"
    return f"{n_threads} {threads} on {n_cores} cores, {n_cores - n_free:.1f} of them busy"


def has_user_chosen() -> bool:
    """Return whether an environment variable of the user or of a launcher sets how threads work."""
    return any(name in os.environ and name not in variables_set for name in CHOSEN)


def count_cores() -> int:
    """Return the number of cores that a run may use, by affinity and by the limits of its container."""
    from joblib import cpu_count

    return cpu_count(only_physical_cores=True)


def is_limited() -> bool:
    """Return whether a container limits this process to fewer cores than it sees; torch would use all it sees."""
    from joblib import cpu_count

    return cpu_count() < count_visible_cores()


@cache
def count_most_threads() -> int:
    """Return the number of threads on an idle machine: torch's own, unless this process has set it before."""
    import torch

    return count_cores() if variables_set else min(count_cores(), torch.get_num_threads())


def count_visible_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_busy_cores(seconds: float | None = SAMPLE_S) -> float:
    """Return how many of these cores are busy, a fraction for a partly busy one, a mean over the next so many seconds.

    With None the mean is over the time since the last such call.
    """
    import psutil

    shares = psutil.cpu_percent(interval=seconds, percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(shares))
    return sum(share for i, share in enumerate(shares) if i in own) / 100


def count_free_cores(n_busy: float, n_cores: int) -> float:
    """Return how many of `n_cores` are left by other work that keeps `n_busy` of the visible cores busy."""
    return min(n_cores, count_visible_cores() - n_busy)


class CoreMeter:
    """Measures how many cores this process and all others use, as means since the last reading."""

    def __init__(self) -> None:
        self.spent, self.read_at = time.process_time(), time.perf_counter()
        count_busy_cores(None)

    def read(self) -> tuple[float, float]:
        """Return the numbers of cores that this process and all others have used."""
        spent, now, n_busy = time.process_time(), time.perf_counter(), count_busy_cores(None)
        n_own = (spent - self.spent) / (now - self.read_at)
        self.spent, self.read_at = spent, now
        return n_own, max(0.0, n_busy - n_own)
