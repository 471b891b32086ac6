"""A progress bar of the whole training."""

import math
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gan.system.console import plain_console


class TrainingProgress(ProgressBar):
    """Shows a live bar with losses, images/s and the last objective; without a terminal, one line per evaluation."""

    def __init__(self, objective: str | None = None) -> None:
        super().__init__()
        self.patterns = {
            "discriminator_loss": "D {:.2f}",
            "generator_loss": "G {:.2f}",
            "images_per_second": "{:,.0f} images/s",
        } | ({objective: f"{objective} {{:.2f}}"} if objective else {})
        self.console = plain_console()
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
            disable=not (self.enabled and self.console.is_terminal),
            transient=True,
        )
        steps = trainer.estimated_stepping_batches
        total = None if math.isinf(steps) else steps  # a run that is limited by time only
        self.task = self.progress.add_task("training", total=total, completed=trainer.global_step, status="")
        self.progress.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.progress.update(self.task, status=self.status(trainer))
        self.progress.update(self.task, completed=trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self.progress.update(self.task, description="scoring ")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self.progress.update(self.task, description="training", status=self.status(trainer))
            if self.enabled and not self.console.is_terminal:
                self.console.print(f"step {trainer.global_step}: {self.status(trainer)}", soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if hasattr(self, "progress"):
            self.progress.stop()

    def status(self, trainer: Trainer) -> str:
        metrics = trainer.callback_metrics
        return "  ".join(text.format(metrics[name].item()) for name, text in self.patterns.items() if name in metrics)
