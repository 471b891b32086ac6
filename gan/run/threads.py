"""The number of threads of a run, chosen before torch is imported by how busy the machine is."""

import os
import sys

CHOSEN = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # by which users choose
SAMPLE_S = 0.3
TOLERATED_CORES = 0.5  # busy with other work, while all cores are still used


def choose_threads() -> str | None:
    """Set the number of threads to the number of free cores, at least one; return a line that says so.

    The threads of one operation wait for each other. On busy cores they wait for the slowest one, and several threads
    are then many times slower than one. Returns None where there is nothing to choose: on one core, where an
    environment variable has chosen, and where torch is imported already.
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
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_busy_cores() -> float:
    """Return how many of these cores were busy during SAMPLE_S seconds, a fraction for a partly busy core."""
    import psutil

    shares = psutil.cpu_percent(interval=SAMPLE_S, percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(shares))
    return sum(share for i, share in enumerate(shares) if i in own) / 100
