"""How many threads a run computes with, chosen before torch is imported, by what else the machine is doing."""

import os
import sys

CHOSEN = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # environment variables of users
SAMPLE_S = 0.3
TOLERATED_CORES = 0.5  # of other work beside a thread for each core


def choose_threads() -> str | None:
    """Take as many threads as there are free cores, at least one, and return a line that says so.

    Threads of one operation wait for each other. Beside other processes that want their cores, each waits for the last
    one to get its turn, and several are many times slower than one. Returns None where there is nothing to choose: one
    core, a choice made by the user's environment, or torch, which reads it once, imported before.
    """
    from joblib import cpu_count

    n_cores = cpu_count()
    if n_cores == 1 or "torch" in sys.modules or any(name in os.environ for name in CHOSEN):
        return None
    n_busy = count_busy_cores() * n_cores / count_visible_cores()
    n_threads = n_cores
    if n_busy > TOLERATED_CORES:
        n_threads = max(1, round(n_cores - n_busy))
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
    return f"{n_threads} {'thread' if n_threads == 1 else 'threads'} on {n_cores} cores, {n_busy:.1f} of them busy"


def count_visible_cores() -> int:
    """Return the number of cores whose load `count_busy_cores` adds up: those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_busy_cores() -> float:
    """Return how many of the cores that this process may use were busy during SAMPLE_S seconds."""
    import psutil

    shares = psutil.cpu_percent(interval=SAMPLE_S, percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(shares))
    return sum(share for i, share in enumerate(shares) if i in own) / 100
