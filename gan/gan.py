"""The adversarial game. The only file that touches an optimizer."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gan.annealing import Annealing, list_annealed, require_beta2
from gan.augment import Augment
from gan.distributed import average_gradients, broadcast_buffers, gather_objects
from gan.ema import EMA
from gan.errors import InputError
from gan.losses import Loss, is_relativistic
from gan.models.networks import AuxiliaryDiscriminator, Discriminator, Generator
from gan.penalties import Penalty, get_interval, get_trait
from gan.priors import normal
from gan.schedules import constant


class GAN(LightningModule):
    """A generator G and a discriminator D, trained against each other with a given loss.

    A step is one update of G after `n_critic` updates of D, each on new reals and fakes; Lightning's `global_step`
    counts these steps. G is updated on the fakes of D's last update, or with `fresh_fakes` on new ones. The networks
    are called as `generator(z, labels)` with z (N, z_dim) and labels (N,), and as `discriminator(images, labels)`,
    which returns logits (N,). A discriminator may have an auxiliary task, whose loss is added to those of both
    players.

    With `pack` m, D judges m samples at once, reals or fakes, as one image with m times the channels, and so sees that
    fakes are alike (packing, Lin et al. 2018, "PacGAN", section 3). Losses and penalties then count packs as samples.
    `optimizer` maps "generator" and "discriminator" to a function that builds an optimizer of their parameters.
    `schedule` maps progress from 0 to 1 to a factor of the learning rate. `prior(n, z_dim)` draws z. `augment` is
    applied to all images that D sees. `gradient_clip_val` bounds the norm of each network's gradient. D's parameters
    are clipped to +-`weight_clip` after each update (Arjovsky et al. 2017, algorithm 1). `top_k` is the share of its
    fakes that G is updated on in the end, those with the highest logits (see `select_top`). `ema` is the average of G's
    weights, which is scored and saved. `annealing` maps the names of values to what they become over the run.

    Raises InputError for `n_critic` or `pack` below 1, for clipping values that are not above 0, and for `top_k`
    outside (0, 1].
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
        pack: int = 1,
        fresh_fakes: bool = False,
        ema_half_life_steps: float = 500,
        ema_ramp_up: float | None = 0.05,
        gradient_clip_val: float | None = None,
        weight_clip: float | None = None,
        top_k: float | None = None,
        annealing: Mapping[str, Annealing] | None = None,
    ) -> None:
        super().__init__()
        for name, count in {"n_critic": n_critic, "pack": pack}.items():
            if count < 1:
                raise InputError(f"{name}={count}: must be at least 1")
        for name, value in {"gradient_clip_val": gradient_clip_val, "weight_clip": weight_clip}.items():
            if value is not None and not value > 0:
                raise InputError(f"{name}={value:g}: must be above 0, or null for none")
        if top_k is not None and not 0 < top_k <= 1:
            raise InputError(f"top_k={top_k:g}: must be a share of the fakes, above 0 and at most 1, or null for all")
        self.automatic_optimization = False
        self.generator = generator.to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)
        self.has_auxiliary = isinstance(discriminator, AuxiliaryDiscriminator)
        self.ema = EMA(self.generator, half_life_steps=ema_half_life_steps, ramp_up=ema_ramp_up)
        self.loss, self.augment = loss, augment or Augment()
        self.penalties = [(penalty, get_interval(penalty)) for penalty in penalties]
        self.stateful_penalties = nn.ModuleList(each for each, _ in self.penalties if isinstance(each, nn.Module))
        self.optimizer, self.schedule, self.prior = optimizer, schedule, prior
        self.n_critic, self.pack, self.fresh_fakes = n_critic, pack, fresh_fakes
        self.gradient_clip_val, self.weight_clip, self.top_k = gradient_clip_val, weight_clip, top_k
        self.annealing = annealing or {}
        self.annealed = list_annealed(
            self.annealing, penalties=[each for each, _ in self.penalties], ema=self.ema, augment=self.augment
        )
        self.total_steps = math.inf  # until training starts
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.long))
        self.logs: dict[str, Tensor] = {}  # the latest losses and mean logits, on the device
        self.latest_z: Tensor | None = None  # of the latest fakes
        self.random_states: list[dict[str, Any]] = []  # by rank, from the checkpoint that is resumed
        self.last_random_state: dict[str, Any] | None = None  # at the end of training

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Update D `n_critic` times and G once, then the EMA and the learning rates."""
        if self.annealing:
            self.anneal()
        images, labels = batch  # (n_critic * N, C, H, W) in [-1, 1], (n_critic * N,)
        first, last = self.global_step * self.n_critic, (self.global_step + 1) * self.n_critic - 1
        parts = zip(images.chunk(self.n_critic), labels.chunk(self.n_critic), strict=True)
        for update, (real, real_labels) in enumerate(parts, start=first):
            with torch.set_grad_enabled(update == last and not self.fresh_fakes):
                fake = self.sample(real_labels)
            self.discriminator_step(real, fake, real_labels, update)
        self.generator_step(real, self.sample(real_labels) if self.fresh_fakes else fake, real_labels)
        self.ema.update(self.generator, self.global_step - 1)
        self.images_seen += len(images) * self.trainer.world_size
        for scheduler in self.lr_schedulers():
            scheduler.step()
        read_every = self.trainer.log_every_n_steps, self.trainer.val_check_batch  # steps, by loggers and evaluations
        if any(self.global_step % interval == 0 for interval in read_every):
            self.log_dict(self.logs)
            self.log("step", float(self.global_step))  # Lightning's own count in a logger is one behind

    def anneal(self) -> None:
        """Set all values that are annealed to those of this step."""
        progress = min(self.global_step / self.total_steps, 1.0)
        for value in self.annealed:
            value.advance(progress)
        if "beta2" in self.annealing:
            for optimizer in self.optimizers(use_pl_optimizer=False):
                beta1, beta2 = optimizer.defaults["betas"]
                for group in optimizer.param_groups:
                    group["betas"] = beta1, self.annealing["beta2"].compute(beta2, progress)

    def discriminator_step(self, real: Tensor, fake: Tensor, labels: Tensor, update: int) -> None:
        """Update D on reals and fakes (N, C, H, W) of the same labels (N,).

        `update` counts D's updates from 0: a penalty with an `interval` of k acts on every k-th one, k times as strong
        (lazy regularization, Karras et al. 2020, appendix B).
        """
        _, optimizer = self.optimizers(use_pl_optimizer=False)  # so that global_step counts generator updates only
        due = [(penalty, interval) for penalty, interval in self.penalties if update % interval == 0]
        with torch.no_grad():
            real, fake = (self.show(images.detach()) for images in (real, fake))
        labels = labels[:: self.pack]
        for images in (real, fake):
            images.requires_grad_(any(get_trait(penalty, "differentiates_twice") for penalty, _ in due))
        real_logits, real_auxiliary = self.judge_with_auxiliary(real, labels)
        fake_logits, fake_auxiliary = self.judge_with_auxiliary(fake, labels, self.latest_z)
        loss = self.loss.discriminator(real_logits, fake_logits)
        logs = {"discriminator_loss": loss, "real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}
        if self.has_auxiliary:
            terms = {"real": real_auxiliary, "fake": fake_auxiliary}
            logs["discriminator_auxiliary_loss"] = sum(terms[name] for name in self.discriminator.auxiliary_on)
            loss = loss + logs["discriminator_auxiliary_loss"]
        if due:
            real, fake = real.float(), fake.float()
            discriminate = self.reuse_logits({real: real_logits, fake: fake_logits})
            logs["penalty"] = sum(interval * penalty(discriminate, real, fake, labels) for penalty, interval in due)
            loss = loss + logs["penalty"]
        self.update(optimizer, loss)
        if self.weight_clip is not None:
            with torch.no_grad():
                for parameter in self.discriminator.parameters():
                    parameter.clamp_(-self.weight_clip, self.weight_clip)
        self.augment.adapt(real_logits.repeat_interleave(self.pack))  # one per sample
        self.logs |= {name: value.detach() for name, value in logs.items()}

    def generator_step(self, real: Tensor, fake: Tensor, labels: Tensor) -> None:
        """Update G on fakes (N, C, H, W) of these labels (N,), which a relativistic loss compares with the reals."""
        optimizer, _ = self.optimizers()
        labels = labels[:: self.pack]
        fake_logits, auxiliary = self.judge_with_auxiliary(self.show(fake), labels, self.latest_z)
        real_logits = None
        if is_relativistic(self.loss):
            with torch.no_grad():
                real_logits = self.judge(self.show(real), labels)
        loss = self.loss.generator(*self.select_top(fake_logits, real_logits))
        self.logs["generator_loss"] = loss.detach()
        if self.has_auxiliary:
            self.logs["generator_auxiliary_loss"] = auxiliary.detach()
            loss = loss + auxiliary
        self.update(optimizer, loss)

    def select_top(self, fake_logits: Tensor, real_logits: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the highest logits of fakes (N,) that G is updated on, and the logits of the reals paired with them.

        Their share falls geometrically from 1 to `top_k` over the first half of the run, then stays. Each process
        selects from its own fakes. Sinha et al. 2020, "Top-k Training of GANs", section 3, where it falls by 1% per
        epoch, down to 1/2 or 3/4.
        """
        if self.top_k is None:
            return fake_logits, real_logits
        share = self.top_k ** min(2 * self.global_step / self.total_steps, 1.0)
        fake_logits, selected = fake_logits.topk(math.ceil(share * len(fake_logits)))
        return fake_logits, None if real_logits is None else real_logits[selected]

    def update(self, optimizer: Optimizer, loss: Tensor) -> None:
        """Take one step of a player's optimizer, along the gradient of a scalar loss averaged over processes."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        optimizer.zero_grad()
        # not Lightning's manual_backward, which makes DDP wait for the other player's gradients
        loss.backward(inputs=parameters)  # nothing is computed for the other player or for the images
        average_gradients(parameters)
        if self.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip_val)
        optimizer.step()

    def reuse_logits(self, judged: dict[Tensor, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return D as a function for penalties, which for images that are already judged has their logits and graph.

        Where a penalty turns autocast off, it judges them anew: the logits were computed in bfloat16.
        """
        mixed = torch.is_autocast_enabled(self.device.type)

        def discriminate(images: Tensor, labels: Tensor) -> Tensor:
            if images in judged and torch.is_autocast_enabled(self.device.type) == mixed:
                return judged[images]
            return self.discriminator(images, labels)

        return discriminate

    def show(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) as D gets them: augmented, and in packs (N / pack, pack * C, H, W)."""
        images = self.augment(images)
        return images if self.pack == 1 else images.unflatten(0, (-1, self.pack)).flatten(1, 2)

    def judge(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return D's logits (N,) of images (N, C, H, W) as float32, the precision in which losses are computed."""
        return self.discriminator(images, labels).float()

    def judge_with_auxiliary(
        self, images: Tensor, labels: Tensor, z: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return D's logits (N,), and the weighted loss of its auxiliary task, None without one; both as float32."""
        if not self.has_auxiliary:
            return self.judge(images, labels), None
        logits, loss = self.discriminator.judge_with_auxiliary(images, labels, z)
        return logits.float(), self.discriminator.auxiliary_weight * loss.float()

    def sample(self, labels: Tensor) -> Tensor:
        """Return an image (N, C, H, W) in [-1, 1] for each label (N,), with z drawn from the prior."""
        self.latest_z = self.prior(len(labels), self.generator.z_dim, device=labels.device)
        return self.generator(self.latest_z, labels)

    def on_validation_start(self) -> None:
        broadcast_buffers(self.ema)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        z, labels = batch
        with torch.autocast(z.device.type, enabled=False):  # as generator.safetensors is used later
            return self.ema(z, labels)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        optimizers = [self.build_optimizer("generator"), self.build_optimizer("discriminator")]
        self.total_steps = steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps) and self.schedule(0.0) != self.schedule(1.0):
            raise InputError(
                "schedule: a learning rate that changes over the run needs the run's length; set trainer.max_steps or "
                "trainer.max_epochs, or use schedule=constant"
            )
        if math.isinf(steps) and self.top_k is not None:
            raise InputError(
                f"top_k={self.top_k:g}: a share that falls over the run needs the run's length; set trainer.max_steps "
                "or trainer.max_epochs, or use top_k=null"
            )
        if math.isinf(steps) and self.annealing:
            raise InputError(
                f"annealing.{next(iter(self.annealing))}: a value that changes over the run needs the run's length; "
                "set trainer.max_steps or trainer.max_epochs, or final=null to keep the value"
            )
        if "beta2" in self.annealing:
            require_beta2(optimizers)
        return optimizers, [LambdaLR(o, lambda step: self.schedule(min(step / steps, 1.0))) for o in optimizers]

    def build_optimizer(self, player: str) -> Optimizer:
        """Return the optimizer of "generator" or "discriminator"; raise InputError for arguments it does not accept."""
        try:
            return self.optimizer[player](getattr(self, player).parameters())
        except (TypeError, ValueError) as error:
            raise InputError(
                f"optimizer.{player}: {' '.join(str(error).split())}; learning rates must be at least 0, "
                "betas from 0 to below 1"
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
        elif rank > 0:  # all processes start with the same networks, but draw different z
            torch.manual_seed(torch.initial_seed() + (rank << 32) + self.global_step)


def apply_settings(optimizer: Optimizer, scheduler: LambdaLR) -> None:
    """Restore the settings that an optimizer was built with: loading a checkpoint replaces them by the saved ones."""
    for group in optimizer.param_groups:
        group |= optimizer.defaults | {"initial_lr": optimizer.defaults["lr"]}
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
        group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)
