"""The adversarial game. The only file that touches an optimiser."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gan.augment import Augment
from gan.distributed import average_gradients, broadcast_buffers, gather_objects
from gan.ema import build_ema
from gan.errors import InputError
from gan.losses import Loss, is_relativistic
from gan.models.networks import Discriminator, Generator
from gan.penalties import Penalty, get_interval
from gan.priors import normal
from gan.schedules import constant


class GAN(LightningModule):
    """A generator and a discriminator that play against each other for a given loss.

    A step is one generator update, after `n_critic` discriminator updates, each on reals and fakes of its own;
    Lightning's global_step counts these steps. Networks are called as `generator(z, labels)`, with z (N, z_dim) and
    labels (N,), and `discriminator(images, labels)`, giving logits (N,). `optimizer` and `schedule` make what they say;
    `prior` draws z; `augment` changes what D sees; `gradient_clip_val` bounds the norm of each player's gradient;
    after each of its updates D's parameters are clipped to +-`weight_clip` (Arjovsky et al. 2017, algorithm 1).
    `ema` is the averaged generator that is scored and saved.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        *,
        loss: Loss,
        penalties: Iterable[Penalty] = (),
        optimizer: dict[str, Callable[..., Optimizer]],
        schedule: Callable[[float], float] = constant,
        prior: Callable[..., Tensor] = normal,
        augment: Augment | None = None,
        n_critic: int = 1,
        ema_half_life_steps: float = 500,
        ema_ramp_up: float | None = 0.05,
        gradient_clip_val: float | None = None,
        weight_clip: float | None = None,
    ) -> None:
        super().__init__()
        if n_critic < 1:
            raise InputError(f"n_critic={n_critic}: must be at least 1")
        for name, value in {"gradient_clip_val": gradient_clip_val, "weight_clip": weight_clip}.items():
            if value is not None and not value > 0:
                raise InputError(f"{name}={value:g}: must be above 0, or null for none")
        self.automatic_optimization = False
        self.generator = generator.to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)
        self.ema = build_ema(self.generator, half_life_steps=ema_half_life_steps, ramp_up=ema_ramp_up)
        self.loss, self.augment = loss, augment or Augment()
        self.penalties = [(penalty, get_interval(penalty)) for penalty in penalties]
        self.optimizer, self.schedule, self.prior, self.n_critic = optimizer, schedule, prior, n_critic
        self.gradient_clip_val, self.weight_clip = gradient_clip_val, weight_clip
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.long))
        self.random_states: list[dict[str, Any]] = []  # by rank, of the run that this one resumes
        self.last_random_state: dict[str, Any] | None = None  # of training that has ended

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch  # (n_critic * N, C, H, W) in [-1, 1], (n_critic * N,)
        logs: dict[str, Tensor] = {}
        parts = zip(images.chunk(self.n_critic), labels.chunk(self.n_critic), strict=True)
        for update, (real, real_labels) in enumerate(parts, start=self.global_step * self.n_critic):
            logs |= self.discriminator_step(real, real_labels, update)
        logs |= self.generator_step(real, real_labels)
        self.ema.update_parameters(self.generator)
        self.images_seen += len(images) * self.trainer.world_size
        for scheduler in self.lr_schedulers():
            scheduler.step()
        self.log_dict(logs)
        self.log("step", float(self.global_step))  # Lightning's own count in a logger is one behind

    def discriminator_step(self, real: Tensor, labels: Tensor, update: int) -> dict[str, Tensor]:
        """Update D once, for the `update`-th time, on these reals and on fresh fakes of the same labels."""
        _, optimizer = self.optimizers(use_pl_optimizer=False)  # so that global_step counts generator updates only
        with torch.no_grad():
            real, fake = self.augment(real), self.augment(self.sample(labels))
        real_logits, fake_logits = self.judge(real, labels), self.judge(fake, labels)
        loss = self.loss.discriminator(real_logits, fake_logits)
        logs = {"discriminator_loss": loss, "real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}
        due = [(penalty, interval) for penalty, interval in self.penalties if update % interval == 0]
        if due:
            inputs = self.discriminator, real.float(), fake.float(), labels
            logs["penalty"] = sum(interval * penalty(*inputs) for penalty, interval in due)
            loss = loss + logs["penalty"]
        self.update(optimizer, self.discriminator, loss)
        if self.weight_clip is not None:
            with torch.no_grad():
                for parameter in self.discriminator.parameters():
                    parameter.clamp_(-self.weight_clip, self.weight_clip)
        self.augment.adapt(real_logits)
        return {name: value.detach() for name, value in logs.items()}

    def generator_step(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Update G once on fresh fakes of these labels; a relativistic loss compares them with these reals."""
        optimizer, _ = self.optimizers()
        with self.toggled_optimizer(optimizer):
            fake_logits, real_logits = self.judge(self.augment(self.sample(labels)), labels), None
            if is_relativistic(self.loss):
                with torch.no_grad():
                    real_logits = self.judge(self.augment(real), labels)
            loss = self.loss.generator(fake_logits, real_logits)
            self.update(optimizer, self.generator, loss)
        return {"generator_loss": loss.detach()}

    def update(self, optimizer: Optimizer, player: nn.Module, loss: Tensor) -> None:
        """Step a player down the loss's gradient."""
        optimizer.zero_grad()
        loss.backward()  # Lightning's manual_backward makes DDP wait for the other player's gradients
        average_gradients(player.parameters())
        if self.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(player.parameters(), self.gradient_clip_val)
        optimizer.step()

    def judge(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return D's logits (N,) of images (N, C, H, W), in float32, in which losses compute whatever D ends in."""
        return self.discriminator(images, labels).float()

    def sample(self, labels: Tensor) -> Tensor:
        """Return one image (N, C, H, W) in [-1, 1] for each label (N,), from z of the prior."""
        return self.generator(self.prior(len(labels), self.generator.z_dim, device=labels.device), labels)

    def on_validation_start(self) -> None:
        broadcast_buffers(self.ema)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        z, labels = batch
        with torch.autocast(z.device.type, enabled=False):  # what is scored is what generator.safetensors makes
            return self.ema(z, labels)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        optimizers = [self.build_optimizer("generator"), self.build_optimizer("discriminator")]
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps) and self.schedule(0.0) != self.schedule(1.0):
            raise InputError(
                "schedule: a learning rate that falls over the run needs its length; set trainer.max_steps or "
                "trainer.max_epochs, or schedule=constant"
            )
        return optimizers, [LambdaLR(o, lambda step: self.schedule(min(step / steps, 1.0))) for o in optimizers]

    def build_optimizer(self, player: str) -> Optimizer:
        """Return a player's optimizer; raise InputError for arguments that it refuses."""
        try:
            return self.optimizer[player](getattr(self, player).parameters())
        except (TypeError, ValueError) as error:
            raise InputError(
                f"optimizer.{player}: {' '.join(str(error).split())}; learning rates must be at least 0, "
                "betas at least 0 and below 1"
            ) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_states"] = gather_objects(self.last_random_state or self.read_random_state())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.random_states = checkpoint["random_states"]

    def read_random_state(self) -> dict[str, Any]:
        """Return the states of the generators that training draws from, on the CPU and on its device."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def on_train_end(self) -> None:
        self.last_random_state = self.read_random_state()  # the module leaves its device before the last save

    def on_train_start(self) -> None:
        for optimizer, scheduler in zip(self.optimizers(use_pl_optimizer=False), self.lr_schedulers(), strict=True):
            apply_settings(optimizer, scheduler)
        self.last_random_state, rank = None, self.global_rank
        if rank < len(self.random_states):
            torch.set_rng_state(self.random_states[rank]["cpu"].cpu())
            if self.device.type == "cuda" and self.random_states[rank]["cuda"] is not None:
                torch.cuda.set_rng_state(self.random_states[rank]["cuda"].cpu(), self.device)
        elif rank > 0:  # the networks start alike everywhere, the noise does not
            torch.manual_seed(torch.initial_seed() + (rank << 32) + self.global_step)


def apply_settings(optimizer: Optimizer, scheduler: LambdaLR) -> None:
    """Give an optimizer its own settings back, which a checkpoint has replaced by those of the run before."""
    for group in optimizer.param_groups:
        group |= optimizer.defaults | {"initial_lr": optimizer.defaults["lr"]}
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
        group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)
