"""The duration of a training step."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class StepTimer(Callback):
    """Measures `seconds_per_step` over all steps of a training but the first `warm_up`."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up, self.started, self.seconds_per_step = warm_up, 0.0, 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.warm_up:
            self.started = self.read_clock()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds_per_step = (self.read_clock() - self.started) / (trainer.global_step - self.warm_up)

    def read_clock(self) -> float:
        """Return the time in seconds, once the GPU has finished its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
