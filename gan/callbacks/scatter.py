"""Pictures of points: one for each evaluation, and an animation of them at the end."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.data.points import Points
from gan.data.scatter import draw_scatter, write_animation
from gan.metrics.extractors.nearest_mode import NearestMode
from gan.system.files import replace_whole

ANIMATION = "training.gif"  # in the folder of the samples


def draw_over_modes(data: Points, points: Tensor, title: str) -> Image.Image:
    """Return a picture of points (N, 2, 1, 1) over the modes of these data; the title gets the number found."""
    extractor = NearestMode(data)
    modes = extractor(points)
    title = f"{title}: {len(modes[modes >= 0].unique())} of {extractor.num_modes} modes"
    return draw_scatter(points.flatten(1), modes >= 0, data.centers, extractor.radius, title)


class SampleScatter(RunCallback):
    """Writes a PNG of samples over the modes of their data to `folder` at each evaluation, and logs it.

    It acts on `Points` only. At the end of training the PNGs become an animated GIF. The run's `pictures` are the last
    PNG.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        if not isinstance(data, Points) or not trainer.is_global_zero:
            return
        z, labels = data.latents.draw()
        samples = pl_module.ema(z.to(pl_module.device), labels.to(pl_module.device)).cpu()
        if not torch.isfinite(samples).all():
            return
        picture = draw_over_modes(data, samples, f"step {trainer.global_step:,}")
        path = self.folder / f"step_{trainer.global_step:06d}.png"
        with replace_whole(path) as part:
            picture.save(part, "PNG")
        tracking.log_image(trainer.logger, "samples", path, trainer.global_step)
        self.run.pictures = {"all": pil_to_tensor(picture).float().div(255)}
        if trainer.state.fn != TrainerFn.FITTING:  # an evaluation after training
            self.animate(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.datamodule, Points) and trainer.is_global_zero:
            self.animate(trainer)

    def animate(self, trainer: Trainer) -> None:
        """Write the animation of all pictures up to this step: a resumed run has those from before, too."""
        steps = {int(path.stem.removeprefix("step_")): path for path in self.folder.glob("step_*.png")}
        pictures = [steps[step] for step in sorted(steps) if step <= trainer.global_step]
        if pictures:
            write_animation(pictures, self.folder / ANIMATION)
