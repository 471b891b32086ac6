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
from gan.models.networks import CodedGenerator


class SampleGrid(RunCallback):
    """Writes a PNG of sample images to `folder` at each evaluation, one row per class, and logs it.

    The images of a column share their z. Of more than `rows` classes some are shown, evenly spaced; an unconditional
    generator fills ten rows. The run's `pictures` are the last rows, by class. A generator with a latent code gets a
    second PNG, of the first class, with one row per category and one row per number of the code.
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
            if isinstance(pl_module.generator, CodedGenerator):
                self.draw_traversal(trainer, pl_module, z[: self.columns], labels[: self.columns])

    def draw_traversal(self, trainer: Trainer, pl_module: LightningModule, z: Tensor, labels: Tensor) -> None:
        """Write and log a PNG with the rows of `traverse_code`, for z (columns, z_dim) and the first of the labels."""
        rows = pl_module.generator.traverse_code(z.to(pl_module.device))
        labels = labels[:1].expand(len(z) * len(rows)).to(pl_module.device)
        path = self.folder / "traversal" / f"step_{trainer.global_step:06d}.png"
        save_grid(pl_module.ema(torch.cat([*rows.values()]), labels).cpu(), path, len(z), [*rows])
        tracking.log_image(trainer.logger, "traversal", path, trainer.global_step)

    def choose(self, classes: Sequence[str], z: Tensor, labels: Tensor) -> tuple[list[str], Tensor, Tensor]:
        """Return the names of the rows (none without classes), and z and label of each image, row by row."""
        if not self.conditional or len(classes) < 2:
            n = 10 * self.columns
            return [], z[:n], labels[:n]
        shown, row = choose_evenly(len(classes), self.rows), z[: self.columns]
        return [classes[i] for i in shown], row.repeat(len(shown), 1), shown.repeat_interleave(len(row))
