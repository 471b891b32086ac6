"""Memory that a process frees: kept for the next step, and returned between the runs of a multirun."""

import ctypes
import gc
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of mallopt, from glibc's malloc.h
MOST_KEPT = 2**31 - 1  # bytes
LARGEST = 32 * 2**20  # bytes, the most that glibc accepts


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones, up to 2 GiB; with glibc only.

    glibc's malloc returns large blocks to the system at once. A training step would take the same memory from the
    system again, one page fault for each 4 KiB. MALLOC_ variables in the environment win.
    """
    if is_glibc() and not any(name.startswith("MALLOC_") for name in os.environ):
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, MOST_KEPT)


def return_freed_memory() -> None:
    """Free objects that refer to each other, and return all freed memory to the system."""
    gc.collect()
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def is_glibc() -> bool:
    """Return whether this process uses the GNU C library."""
    return platform.libc_ver()[0] == "glibc"
