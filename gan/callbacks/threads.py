"""Threads during training: as many as there are free cores, also when other work comes or goes."""

import math
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from gan.system import threads
from gan.system.console import plain_console

EVERY_S = 5.0  # the load is read at the end of a step, at most this often
READINGS = 3  # with free cores before there are more threads; twice as many after each time that cores become busy
MOST_READINGS = 120
SHORT_READINGS = 2  # with less than half of the cores before the run says so


class Threads(Callback):
    """Sets the number of threads to the number of cores that other work leaves free, and prints each change.

    Threads become fewer after one reading of the load, and more after several. The number stays where an environment
    variable has chosen it, and in runs of several processes, which share the cores.

    It also prints one line, once, when the run gets less than half of the cores that it could use, because others use
    them. Does nothing on other devices than the CPU, which need few threads.
    """

    def __init__(self) -> None:
        self.next_reading = math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.strategy.root_device.type != "cpu" or not trainer.is_global_zero:
            return
        self.follows = trainer.world_size == 1 and not threads.has_user_chosen()
        n_threads = torch.get_num_threads()
        self.n_cores = threads.count_most_threads() if self.follows else min(threads.count_cores(), n_threads)
        self.n_needed, self.n_roomy, self.n_short = READINGS, 0, 0
        self.meter = threads.CoreMeter()
        self.next_reading = time.monotonic() + EVERY_S

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if time.monotonic() < self.next_reading:
            return
        self.next_reading = time.monotonic() + EVERY_S
        n_own, n_others = self.meter.read()
        n_free = threads.count_free_cores(n_others, self.n_cores)
        notes = [self.report_shortage(n_own, n_free), self.follow_load(n_free) if self.follows else None]
        for note in filter(None, notes):
            plain_console().print(f"step {trainer.global_step}: {note}", soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.next_reading = math.inf

    def follow_load(self, n_free: float) -> str | None:
        """Set the number of threads for so many free cores; return a line if it changes."""
        before = torch.get_num_threads()
        n_threads = threads.fit_threads(before, n_free, self.n_cores)
        self.n_roomy = self.n_roomy + 1 if n_threads > before else 0
        if n_threads == before or 0 < self.n_roomy < self.n_needed:
            return None
        if n_threads < before:
            self.n_needed = min(2 * self.n_needed, MOST_READINGS)
        self.n_roomy = 0
        torch.set_num_threads(n_threads)
        return threads.describe_threads(n_threads, self.n_cores, n_free)

    def report_shortage(self, n_own: float, n_free: float) -> str | None:
        """Return a line when this process has used less than half of its cores and others more than half, once."""
        if self.n_short == SHORT_READINGS:
            return None
        self.n_short = self.n_short + 1 if round(max(n_own, n_free), 1) < self.n_cores / 2 else 0
        if self.n_short < SHORT_READINGS:
            return None
        cores = "core" if self.n_cores == 1 else "cores"
        return f"this run gets {n_own:.1f} of {self.n_cores} {cores}: other processes use the rest"
