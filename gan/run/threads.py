"""How the threads of a run wait for each other, chosen before torch is imported, by what else the machine is doing."""

import os
import sys

CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # environment variables by which users choose
SAMPLE_S = 0.3
TOLERATED_CORES = 0.5  # of other work beside the threads


def choose_wait_policy() -> str | None:
    """Make threads sleep while they wait where other processes want the cores, and return one line that says so.

    By default OpenMP's threads spin: fastest on an idle machine, but many times slower beside other work, as spinning
    threads keep each other from the cores. Returns None where there is nothing to choose: one thread only, a choice
    made by the user's environment, or torch, which reads it once, imported before.
    """
    from joblib import cpu_count

    n_cores = cpu_count()
    n_threads = int(os.environ.get("OMP_NUM_THREADS") or n_cores)
    if n_threads == 1 or "torch" in sys.modules or any(name in os.environ for name in CHOSEN):
        return None
    n_busy = count_busy_cores() * n_cores / count_visible_cores()
    shown = f"{n_threads} threads on {n_cores} cores, {n_busy:.1f} of which do other work"
    if n_busy <= n_cores - n_threads + TOLERATED_CORES:
        return f"{shown}: threads spin while they wait"
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return f"{shown}: threads sleep while they wait (OMP_WAIT_POLICY=PASSIVE)"


def count_visible_cores() -> int:
    """Return the number of cores whose load `count_busy_cores` adds up: those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_busy_cores() -> float:
    """Return how many of the cores that this process may use were busy during SAMPLE_S seconds."""
    import psutil

    shares = psutil.cpu_percent(interval=SAMPLE_S, percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(shares))
    return sum(share for i, share in enumerate(shares) if i in own) / 100
