"""train.py in processes of their own that start in no time: forked from one that has imported all it needs."""

import multiprocessing
import os
import resource
import runpy
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.conftest import FEW_FAKES, NARROW, ROOT, SMALL

TINY = ["model=mlp", *NARROW["mlp"], "data.batch_size=16", "logger=none", *SMALL, *FEW_FAKES]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


def start_training(log: Path, *words: str, memory: int | None = None) -> BaseProcess:
    """Start train.py with these words, its output in a file, its address space limited to so many bytes."""
    process = CONTEXT.Process(target=run_train, args=(str(log), [*TINY, *words], dict(os.environ), memory))
    process.start()
    return process


def run_train(log: str, words: list[str], variables: dict[str, str], memory: int | None) -> None:
    """Be the command `python train.py WORDS`."""
    os.environ |= variables | {"OMP_NUM_THREADS": "1"}
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    import torch

    torch.set_num_threads(1)
    sys.argv = [str(ROOT / "train.py"), *words]
    runpy.run_path(sys.argv[0], run_name="__main__")
