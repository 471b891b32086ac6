"""The cost of a model: its parameters and the floating-point operations of a training step."""

import copy
import math
from collections import Counter
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # no public mode sees gradients of gradients
from torch.utils.flop_counter import flop_registry

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.gan import GAN
from gan.system.console import plain_console


class FlopCounter(TorchDispatchMode):
    """Counts the operations of everything that runs inside it, double backward included, by PyTorch's formulas.

    PyTorch's FlopCounterMode registers module hooks, which fail under torch.autograd.grad.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=outputs)
        return outputs


class Cost(RunCallback):
    """Counts trainable parameters and the operations of the first steps, prints them, and logs them in W&B's summary.

    `flops_per_step` counts matrix products and convolutions, forward and backward, in one step with all its updates of
    D and in all processes, a multiply-add as two operations. It is a mean over as many steps as the longest interval of
    a penalty.
    """

    counting = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.counter, self.steps = FlopCounter(), 0
        self.wanted = max((interval for _, interval in pl_module.penalties), default=1)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.steps < self.wanted:
            self.counter.__enter__()
            self.counting = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.steps == self.wanted:
            return
        self.stop_counting()
        self.steps += 1
        if self.steps == self.wanted:
            self.run.cost = {
                "generator_parameters": count_parameters(pl_module.generator),
                "discriminator_parameters": count_parameters(pl_module.discriminator),
                "flops_per_step": self.counter.total * trainer.world_size // self.steps,
            }
            tracking.log_summary(trainer.logger, self.run.cost)
            if trainer.is_global_zero:
                text = "generator {generator_parameters:,} parameters, discriminator {discriminator_parameters:,}"
                gflops = self.run.cost["flops_per_step"] / 1e9
                plain_console().print(f"{text.format(**self.run.cost)}; {gflops:.3g} GFLOP a step", soft_wrap=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop_counting()

    def stop_counting(self) -> None:
        """Leave the dispatch mode, which would slow down everything that follows in this process."""
        if self.counting:
            self.counter.__exit__(None, None, None)
            self.counting = False


def count_step_flops(
    gan: GAN, *, batch_size: int, channels: int, image_size: int, num_classes: int, mixed: bool
) -> int:
    """Return the operations of one step in one process, counted before training, which they do not change.

    They are what `Cost` counts during training, with lazy penalties as their mean over all steps. Two and four packs of
    images are enough: the number of operations is linear in that of the images.
    """
    counts = {}
    for n in (2 * gan.pack, 4 * gan.pack):
        images, labels = torch.rand(n, channels, image_size, image_size), torch.arange(n) % max(num_classes, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            counts[n] = count_batch(copy.deepcopy(gan), images, labels)
    (n, fewer), (_, more) = counts.items()
    return round(fewer + (batch_size - n) * (more - fewer) / n)


def count_batch(gan: GAN, real: Tensor, labels: Tensor) -> float:
    """Return the operations of one step on reals (N, C, H, W) and labels (N,); it changes the GAN."""
    optimizers = [gan.build_optimizer(player) for player in ("generator", "discriminator")]
    gan.optimizers = lambda **_: optimizers  # a trainer's otherwise
    with FlopCounter() as sampling:
        fake = gan.sample(labels)
    intervals = [interval for _, interval in gan.penalties]
    first_update, times = {}, Counter()  # by which penalties are due
    for update in range(math.lcm(*intervals)):
        due = tuple(update % interval == 0 for interval in intervals)
        first_update.setdefault(due, update)
        times[due] += 1
    discriminator = 0.0
    for due, update in first_update.items():
        with FlopCounter() as counter:
            gan.discriminator_step(real.clone(), fake.detach().clone(), labels, update)
        discriminator += counter.total * times[due] / times.total()
    with FlopCounter() as generator:
        gan.generator_step(real, fake, labels)
    n_samples = gan.n_critic + gan.fresh_fakes
    return gan.n_critic * discriminator + n_samples * sampling.total + generator.total


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
