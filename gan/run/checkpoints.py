"""A run's checkpoints: written whole, often enough, and read with one line about whatever is none."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from gan.errors import InputError
from gan.system.files import write_whole


class LastCheckpoint(Callback):
    """Saves the state of training to `path` after each evaluation and, between them, every `every_n_steps` steps.

    A run that is killed loses the steps since then.
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
    """Whether the step that ends is followed by an evaluation; a run resumed from before it would skip it."""
    interval = trainer.val_check_batch
    by_steps = trainer.check_val_every_n_epoch is None and isinstance(interval, int)
    return by_steps and trainer.global_step % interval == 0


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced in one move in their own folder: a full disk or a kill leaves the old."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch's own writing of files hides why one fails
        torch.save(checkpoint, content)
        write_whole(Path(path), content.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU; raise InputError for a file that is none, or is damaged."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"state_dict", "global_step"} - checkpoint.keys()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a reader of pickles makes of a file that is none
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: is no checkpoint, or a damaged one ({text[0][:100].rstrip('. ')}); start from "
            f"another one by ckpt_path=FILE, as {Path(path).with_name('best.ckpt')}, or anew in another folder"
        ) from error
    if missing:
        raise InputError(f"{path}: is no checkpoint of a run: it has no {' and no '.join(sorted(missing))}")
    return checkpoint


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter and buffer, by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def require_same_layers(network: nn.Module, layers: dict[str, tuple[int, ...]], path: str | Path) -> None:
    """Raise InputError that names the first parameter or buffer whose shape differs in a network and a file."""
    own = shapes(network.state_dict())
    for name in own | layers:
        here, there = own.get(name, "missing"), layers.get(name, "missing")
        if here != there:
            raise InputError(f"{path}: was made by another model: {name} is {there} there, {here} in this run's model")
