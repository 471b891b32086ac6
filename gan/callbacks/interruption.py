"""What happens when a run is told to end before its time."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from gan.callbacks.last_checkpoint import evaluates_next
from gan.callbacks.run_state import RunCallback
from gan.distributed import find_largest
from gan.errors import Preempted
from gan.system.signals import SIGNALS, early

CHECK_EVERY = 5  # steps, with several processes: they have to agree on one, and to ask takes an exchange


class Interruption(RunCallback):
    """Ends training in good order at the end of a step, on all ranks at once, whichever of them a signal comes to.

    One process ends at the step in which the signal comes, several at the next one that CHECK_EVERY divides; an
    evaluation that is due, or has begun, comes first.

    SIGTERM, as a W&B agent sends to a run that is stopped early: the run is scored, and closed as finished.
    SIGUSR1 and SIGUSR2, as a cluster sends before it takes a machine away, and Ctrl-C: the run's state is saved to
    `checkpoint`, and Preempted raised; started again with that checkpoint, the run goes on. SIGTERM means the same
    where Slurm sends it, or where it ends a whole multirun. A second Ctrl-C does not wait for the step, only for a
    file that is being written.
    """

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.checkpoint, self.saving = Path(checkpoint), False
        self.received: set[int] = set()
        self.taken_over: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning's own handler of SIGTERM broadcasts while the other processes are in other exchanges: a hang
        trainer._signal_connector.register_signal_handlers = lambda: None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def receive(number: int, _: Any) -> None:
            if number == signal.SIGINT and number in self.received and not self.saving:
                sys.exit(f"stopped at once, without the steps since the last save, which is {self.checkpoint}")
            self.received.add(number)

        self.received |= early

        # in place of a launcher's, which do not wait for the end of a step
        self.taken_over = {number: signal.signal(number, receive) for number in SIGNALS}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        asks = trainer.world_size == 1 or trainer.global_step % CHECK_EVERY == 0
        if asks and not evaluates_next(trainer):
            self.heed(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self.heed(trainer)

    def heed(self, trainer: Trainer) -> None:
        """Do what the signals ask for that have come to any process; all have to call it."""
        urgency = 0 if not self.received else 1 if self.received == {signal.SIGTERM} and scores_on_sigterm() else 2
        urgency = find_largest(urgency, trainer.strategy.root_device)
        if urgency == 2:
            self.saving = True
            trainer.save_checkpoint(self.checkpoint)
            raise Preempted(f"preempted at step {trainer.global_step}; ckpt_path={self.checkpoint} goes on from there")
        if urgency == 1:
            self.run.stops_early = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Put the handlers back that were there before training."""
        for number, handler in self.taken_over.items():
            signal.signal(number, handler)
        self.taken_over = {}


def scores_on_sigterm() -> bool:
    """Whether SIGTERM means that this run is to be scored as it is: not where Slurm or a multirun ends it."""
    if "WANDB_SWEEP_ID" in os.environ:
        return "SLURM_JOB_ID" not in os.environ or keeps_allocation()
    return "SLURM_JOB_ID" not in os.environ and HydraConfig.get().mode != RunMode.MULTIRUN


def keeps_allocation() -> bool:
    """Whether Slurm lets this job be, so that a signal came from an agent."""
    job = subprocess.run(["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
    return "JobState=RUNNING" in job.stdout and not re.search(r"PreemptTime=\d", job.stdout)
