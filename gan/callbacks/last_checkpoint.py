"""last.ckpt: the latest state of training, from which a run that was killed resumes."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from gan.errors import InputError


class LastCheckpoint(Callback):
    """Saves the state of training to `path` after each evaluation and every `every_n_steps` steps between them.

    A run that is killed loses the steps since the last save. Raises InputError for `every_n_steps` below 1.
    """

    def __init__(self, path: str, *, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise InputError(f"callbacks.last.every_n_steps={every_n_steps}: must be at least 1, or null for none")
        self.path, self.every_n_steps = path, every_n_steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and not evaluates_next(trainer):
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.save_checkpoint(self.path)


def evaluates_next(trainer: Trainer) -> bool:
    """Return whether an evaluation follows this step: a checkpoint before it would resume without that evaluation."""
    interval = trainer.val_check_batch
    by_steps = trainer.check_val_every_n_epoch is None and isinstance(interval, int)
    return by_steps and trainer.global_step % interval == 0
