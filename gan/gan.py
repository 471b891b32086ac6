"""The adversarial game. The only file that touches an optimiser."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gan.ema import averaged
from gan.errors import InputError
from gan.penalties import require_per_sample_gradients


class GAN(LightningModule):
    """A generator and a discriminator that play against each other for a given loss.

    A step is one generator update, after `n_critic` discriminator updates, each on reals and fakes of its own;
    Lightning's global_step counts these steps. Networks are called as `generator(z, labels)`, with z (N, z_dim) and
    labels (N,), and `discriminator(images, labels)`, giving logits (N,). `optimizer` and `schedule` make what they say;
    `ema` is the averaged generator that is scored and saved.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        loss: Any,
        penalties: Iterable[Callable[..., Tensor]] = (),
        optimizer: dict[str, Callable[..., Optimizer]],
        schedule: Callable[[float], float] = lambda progress: 1.0,
        n_critic: int = 1,
        ema_half_life_steps: float = 500,
    ) -> None:
        super().__init__()
        if n_critic < 1:
            raise InputError(f"n_critic={n_critic}: must be at least 1")
        if not ema_half_life_steps >= 0:
            raise InputError(f"ema_half_life_steps={ema_half_life_steps}: must be 0 (no averaging) or more")
        self.automatic_optimization = False
        self.generator = generator.to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)
        self.ema = averaged(self.generator, half_life_steps=ema_half_life_steps)
        self.loss, self.penalties = loss, list(penalties)
        self.optimizer, self.schedule, self.n_critic = optimizer, schedule, n_critic
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.long))
        self.random_states: dict[str, Any] | None = None
        if self.penalties:
            require_per_sample_gradients(self.discriminator)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch  # (n_critic * N, C, H, W) in [-1, 1], (n_critic * N,)
        logs: dict[str, Tensor] = {}
        for real, real_labels in zip(images.chunk(self.n_critic), labels.chunk(self.n_critic), strict=True):
            logs = self.discriminator_step(real, real_labels)
        logs |= self.generator_step(real_labels)
        self.ema.update_parameters(self.generator)
        self.images_seen += len(images) * self.trainer.world_size
        for scheduler in self.lr_schedulers():
            scheduler.step()
        self.log_dict(logs)
        self.log("step", float(self.global_step))  # Lightning's own count in a logger is one behind

    def discriminator_step(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Update D once on these reals and on fresh fakes of the same labels."""
        _, optimizer = self.optimizers(use_pl_optimizer=False)  # so that global_step counts generator updates only
        with torch.no_grad():
            fake = self.sample(labels)
        real_logits, fake_logits = self.discriminator(real, labels), self.discriminator(fake, labels)
        loss = self.loss.discriminator(real_logits, fake_logits)
        logs = {"discriminator_loss": loss, "real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}
        if self.penalties:
            logs["penalty"] = sum(penalty(self.discriminator, real, fake.float(), labels) for penalty in self.penalties)
            loss = loss + logs["penalty"]
        self.update(optimizer, loss)
        return {name: value.detach() for name, value in logs.items()}

    def generator_step(self, labels: Tensor) -> dict[str, Tensor]:
        """Update G once on fresh fakes of these labels."""
        optimizer, _ = self.optimizers()
        with self.toggled_optimizer(optimizer):
            loss = self.loss.generator(self.discriminator(self.sample(labels), labels))
            self.update(optimizer, loss)
        return {"generator_loss": loss.detach()}

    def update(self, optimizer: Optimizer, loss: Tensor) -> None:
        """Step down the loss's gradient."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def sample(self, labels: Tensor) -> Tensor:
        """Return one image (N, C, H, W) in [-1, 1] for each label (N,), from z ~ N(0, 1)."""
        return self.generator(torch.randn(len(labels), self.generator.z_dim, device=labels.device), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        z, labels = batch
        return self.ema(z, labels)

    def setup(self, stage: str) -> None:
        if self.trainer.precision == "16-mixed":
            raise InputError(
                "trainer.precision=16-mixed: its gradient scaling covers one optimizer, a GAN has two; use bf16-mixed"
            )

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        optimizers = [
            self.optimizer["generator"](self.generator.parameters()),
            self.optimizer["discriminator"](self.discriminator.parameters()),
        ]
        steps = self.trainer.estimated_stepping_batches
        return optimizers, [LambdaLR(o, lambda step: self.schedule(min(step / steps, 1.0))) for o in optimizers]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_states"] = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.random_states = checkpoint["random_states"]

    def on_train_start(self) -> None:
        if self.random_states:
            torch.set_rng_state(self.random_states["cpu"].cpu())
            torch.cuda.set_rng_state_all([state.cpu() for state in self.random_states["cuda"]])
