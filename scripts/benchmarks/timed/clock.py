"""A callback of a measured run: images per second of its steps."""

import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

WARM_UP = 10  # steps that are not measured: memory is reserved, and the run's cost is counted


class Clock(Callback):
    """Writes the images per second of all steps after the first ten to a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == WARM_UP:
            self.started, self.seen = time.perf_counter(), int(pl_module.images_seen)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.perf_counter() - self.started
        self.path.write_text(str((int(pl_module.images_seen) - self.seen) / seconds), encoding="utf-8")
