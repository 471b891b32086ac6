"""A callback of a measured run: images per second of its steps."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from gan.launch.step_timer import StepTimer

WARM_UP = 10  # steps that are not measured: memory is reserved, and the run's cost is counted


class Clock(StepTimer):
    """Writes the images per second of all steps after the first ten to a file."""

    def __init__(self, path: str) -> None:
        super().__init__(WARM_UP)
        self.path = Path(path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        images_per_step = int(pl_module.images_seen) / trainer.global_step
        self.path.write_text(str(images_per_step / self.seconds_per_step), encoding="utf-8")
