"""Monitors of training: throughput and divergence."""

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from gan.distributed import any_process
from gan.errors import Diverged


class Throughput(Callback):
    """Logs generator_steps, images_seen (real images shown to D) and images_per_second, evaluations excluded."""

    def __init__(self) -> None:
        self.since, self.seen = 0.0, 0

    def restart(self, pl_module: LightningModule) -> None:
        self.since, self.seen = time.perf_counter(), int(pl_module.images_seen)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restart(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restart(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:
            rate = (int(pl_module.images_seen) - self.seen) / (time.perf_counter() - self.since)
            progress = {"generator_steps": trainer.global_step, "images_seen": pl_module.images_seen}
            pl_module.log_dict({name: float(value) for name, value in progress.items()} | {"images_per_second": rate})
            self.restart(pl_module)


class DivergenceGuard(Callback):
    """Raises Diverged when a loss is not finite; checks every `log_every_n_steps`."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:
            losses = {name: value for name, value in trainer.callback_metrics.items() if name.endswith("_loss")}
            found = [f"{name} is {value.item()}" for name, value in losses.items() if not torch.isfinite(value)]
            if any_process(bool(found)):
                raise Diverged(f"{found[0] if found else 'a loss is not finite'} at step {trainer.global_step}")
