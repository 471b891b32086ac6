"""Sample grids: one picture for each evaluation."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.data.pixels import draw_grid, save_grid
from gan.data.points import Points
from gan.metrics.real_statistics import choose_evenly


class SampleGrid(RunCallback):
    """Writes a PNG of sample images to `folder` at each evaluation, one row per class, and logs it.

    The images of a column share their z. Of more than `rows` classes some are shown, evenly spaced; an unconditional
    generator fills ten rows. The run's `pictures` are the last rows, by class.
    """

    def __init__(self, folder: str, *, conditional: bool = True, columns: int = 10, rows: int = 20) -> None:
        super().__init__()
        self.folder, self.conditional, self.columns, self.rows = Path(folder), conditional, columns, rows

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.datamodule, Points) or not trainer.is_global_zero:
            return
        names, z, labels = self.choose(trainer.datamodule.classes, *trainer.datamodule.latents.draw())
        samples = pl_module.ema(z.to(pl_module.device), labels.to(pl_module.device)).cpu()
        if torch.isfinite(samples).all():
            path = self.folder / f"step_{trainer.global_step:06d}.png"
            columns = len(z) // len(names) if names else self.columns
            save_grid(samples, path, columns, names)
            tracking.log_image(trainer.logger, "samples", path, trainer.global_step)
            rows = zip(names, samples.split(columns), strict=True) if names else [("all", samples)]
            self.run.pictures = {name: draw_grid(row, columns) for name, row in rows}

    def choose(self, classes: Sequence[str], z: Tensor, labels: Tensor) -> tuple[list[str], Tensor, Tensor]:
        """Return the names of the rows (none without classes), and z and label of each image, row by row."""
        if not self.conditional or len(classes) < 2:
            n = 10 * self.columns
            return [], z[:n], labels[:n]
        shown, row = choose_evenly(len(classes), self.rows), z[: self.columns]
        return [classes[i] for i in shown], row.repeat(len(shown), 1), shown.repeat_interleave(len(row))
