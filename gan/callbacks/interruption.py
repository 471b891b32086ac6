"""Ending a run early, by a signal: saved to be resumed, or scored as it is."""

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

CHECK_EVERY = 5  # steps; several processes have to exchange whether to stop


class Interruption(RunCallback):
    """Ends training at the end of a step when any of the run's processes receives a signal; all end together.

    A single process ends at the current step, several at the next multiple of CHECK_EVERY. An evaluation that is due
    or has begun is finished first.

    SIGTERM, which a W&B agent sends to a run that is stopped early: the run is scored and closed as finished.
    SIGUSR1 and SIGUSR2, which a cluster sends before it preempts a job, and Ctrl-C: the state is saved to `checkpoint`,
    and Preempted is raised; the run resumes from there. SIGTERM means the same if Slurm sends it, or if it ends a whole
    multirun. A second Ctrl-C ends the process at once, unless a file is being written.
    """

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.checkpoint, self.saving = Path(checkpoint), False
        self.received: set[int] = set()
        self.handlers_before: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning's handler of SIGTERM broadcasts while other processes are in other collectives, and all hang;
        # no option or hook keeps Lightning from setting it
        trainer._signal_connector.register_signal_handlers = lambda: None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def receive(number: int, _: Any) -> None:
            if number == signal.SIGINT and number in self.received and not self.saving:
                sys.exit(f"stopped at once; steps since the last save ({self.checkpoint}) are lost")
            self.received.add(number)

        self.received |= early

        # these replace a launcher's handlers, which do not wait for the end of a step
        self.handlers_before = {number: signal.signal(number, receive) for number in SIGNALS}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        asks = trainer.world_size == 1 or trainer.global_step % CHECK_EVERY == 0
        if asks and not evaluates_next(trainer):
            self.act_on_signals(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self.act_on_signals(trainer)

    def act_on_signals(self, trainer: Trainer) -> None:
        """Stop or save if any process has received a signal; all processes have to call this."""
        urgency = 0 if not self.received else 1 if self.received == {signal.SIGTERM} and scores_on_sigterm() else 2
        urgency = find_largest(urgency, trainer.strategy.root_device)
        if urgency == 2:
            self.saving = True
            trainer.save_checkpoint(self.checkpoint)
            raise Preempted(f"preempted at step {trainer.global_step}; ckpt_path={self.checkpoint} resumes there")
        if urgency == 1:
            self.run.stops_early = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.restore_handlers()
        # Lightning ends the evaluation's loop only; Python would wait for training's data workers, which ignore signals
        trainer.fit_loop.teardown()

    def restore_handlers(self) -> None:
        """Restore the signal handlers from before training."""
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)
        self.handlers_before = {}


def scores_on_sigterm() -> bool:
    """Return whether SIGTERM asks for this run to be scored: a sweep's agent or a user, not Slurm or a multirun."""
    if "WANDB_SWEEP_ID" in os.environ:
        return "SLURM_JOB_ID" not in os.environ or keeps_allocation()
    return "SLURM_JOB_ID" not in os.environ and HydraConfig.get().mode != RunMode.MULTIRUN


def keeps_allocation() -> bool:
    """Return whether Slurm does not end this job, so that the signal came from an agent."""
    job = subprocess.run(["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
    return "JobState=RUNNING" in job.stdout and not re.search(r"PreemptTime=\d", job.stdout)
