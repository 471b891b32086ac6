"""What happens when a run is told to end before its time."""

import os
import signal
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gan.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interruption(Callback):
    """Ends training in good order at the end of the step in which a signal comes, on all ranks at once.

    SIGTERM, as a W&B agent sends to a run that is stopped early: the run is scored, and closed as finished.
    SIGUSR1 and SIGUSR2, as a cluster sends before it takes a machine away: the run's state is saved to `checkpoint`,
    and Preempted raised; started again with that checkpoint, the run goes on. Slurm's SIGTERM means the same.
    `interrupted` says whether the run was stopped early.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = Path(checkpoint)
        self.interrupted, self.received = False, 0
        self.taken_over: dict[int, Any] = {}
        on_slurm = "SLURM_JOB_ID" in os.environ and "WANDB_SWEEP_ID" not in os.environ
        self.preempting = SIGNALS if on_slurm else SIGNALS[1:]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def receive(number: int, _: Any) -> None:
            self.received = max(self.received, 2 if number in self.preempting else 1)

        # in place of Lightning's, which raises, and of a launcher's, which do not wait for the end of a step
        self.taken_over = {number: signal.signal(number, receive) for number in SIGNALS}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        received = self.received
        if trainer.world_size > 1:
            received = int(trainer.strategy.reduce(float(received), reduce_op="max"))
        if received == 2:
            trainer.save_checkpoint(self.checkpoint)
            raise Preempted(f"preempted at step {trainer.global_step}; ckpt_path={self.checkpoint} goes on from there")
        if received == 1:
            self.interrupted = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Put the handlers back that were there before training."""
        for number, handler in self.taken_over.items():
            signal.signal(number, handler)
        self.taken_over = {}


def ignore_signals(_: int) -> None:
    """Leave signals to the main process: a cluster sends them to its data workers too."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
