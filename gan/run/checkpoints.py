"""Checkpoint files: written atomically, and read with one line about what is wrong with a file."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from gan.errors import InputError
from gan.system.files import write_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, written atomically: a full disk or a kill leaves the previous file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch.save to a path hides the system's error
        torch.save(checkpoint, content)
        write_whole(Path(path), content.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's content on the CPU; raise InputError for any other or a damaged file."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"state_dict", "global_step"} - checkpoint.keys()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # torch.load raises many kinds for files that are not checkpoints
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one ({text[0][:100].rstrip('. ')}); start from another one with "
            f"ckpt_path=FILE, such as {Path(path).with_name('best.ckpt')}, or start a new run in another folder"
        ) from error
    if missing:
        raise InputError(f"{path}: not a run's checkpoint: it has no {' and no '.join(sorted(missing))}")
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
            raise InputError(
                f"{path}: has the weights of another model: {name} is {there} there, {here} in this run's model"
            )
