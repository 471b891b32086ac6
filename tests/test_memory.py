"""Freed memory stays with the process during training, so that a step causes no page faults for its tensors."""

import os
import subprocess
import sys

import pytest

from gan.system.memory import is_glibc

STEPS = """
import resource, sys
from gan.system.memory import keep_freed_memory, return_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
def step():
    blocks = [bytearray(8 * 2**20) for _ in range(4)]
    for block in blocks:
        block[::4096] = b"1" * len(block[::4096])
def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
step()
print(count_faults())
return_freed_memory()
print(count_faults())
"""
PAGES = 4 * 2 * 2**20 // 4096  # a lower bound of those that a step touches: 4 blocks of 8 MiB


def count_faults(*words: str, **variables: str) -> list[int]:
    """Return the page faults of a step after a first one, and of one after all freed memory was returned."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", STEPS, *words]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return [int(line) for line in output.split()]


@pytest.mark.skipif(not is_glibc(), reason="only glibc's malloc has these options")
def test_a_step_takes_the_memory_that_the_step_before_freed():
    repeated, after_return = count_faults("keep")
    assert repeated < 100
    assert after_return > PAGES


@pytest.mark.skipif(not is_glibc(), reason="only glibc's malloc has these options")
def test_variables_of_the_user_win():
    repeated, _ = count_faults("keep", MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536")
    assert repeated > PAGES
