"""Penalties on the discriminator's gradient with respect to images, for any loss.

They compute in float32 outside autocast: the squared norm of a bfloat16 gradient has two significant digits.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gan.distributed import compute_standard_deviation
from gan.errors import InputError
from gan.models.networks import Discriminator


class Penalty(Protocol):
    """What a discriminator update asks of a penalty: one scalar to add to D's loss.

    With an `interval` k above 1 it is computed in every k-th discriminator update only, and then counts k times: lazy
    regularization (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.1).

    `per_sample` asks for D's output, or its gradient, of each sample alone, and refuses batch norm in D.
    `differentiates_twice` refuses torch.compile. `bounds_discriminator` says that a Wasserstein loss has a minimum with
    it. Any callable will do that has these arguments; attributes that it lacks have the values below, see
    `get_interval` and `get_trait`. A penalty that is an nn.Module is moved to the device and saved with the networks.
    """

    interval: int = 1
    per_sample: bool = True
    differentiates_twice: bool = True
    bounds_discriminator: bool = True

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """Return the penalty, a scalar, for reals and fakes (N, C, H, W) float32 as D sees them, and labels (N,).

        `discriminator(images, labels)` returns logits (N,); for these very tensors it has them from the loss already.
        Images are augmented where an augmentation is used, and so may be outside [-1, 1].
        """
        ...


@runtime_checkable
class GammaPenalty(Protocol):
    """A penalty with a weight `gamma` that it reads at each call, so that it can be annealed."""

    gamma: float


def get_interval(penalty: Penalty) -> int:
    """Return the number of discriminator updates from one computation of a penalty to the next."""
    return getattr(penalty, "interval", Penalty.interval)


def get_trait(penalty: Penalty, name: str) -> bool:
    """Return `per_sample`, `differentiates_twice` or `bounds_discriminator`; a user's own callable may lack them."""
    return getattr(penalty, name, getattr(Penalty, name))


class GradientPenalty(Penalty):
    """Two-sided penalty that keeps the gradient's norm at 1 between reals and fakes.

    weight * E (||grad D(e x + (1 - e) G(z))||_2 - 1)^2 with one e ~ U[0, 1] per sample and the norm over all
    channels and pixels of a sample. Gulrajani et al. 2017, eq. 3, where weight is 10.
    """

    def __init__(self, *, weight: float = 10.0, interval: int = 1) -> None:
        self.weight = require_positive("gradient_penalty.weight", weight)
        self.interval = require_interval("gradient_penalty.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        e = torch.rand(len(real), 1, 1, 1, device=real.device)
        return self.weight * compute_norm_error(compute_gradients(discriminator, torch.lerp(fake, real, e), labels))


class DRAGAN(Penalty):
    """Two-sided penalty that keeps the gradient's norm at 1 around the reals.

    weight * E (||grad D(x + d)||_2 - 1)^2, with d ~ U[-0.5, 0.5] times the standard deviation of the batch's pixels,
    drawn per pixel. Kodali et al. 2017, "On Convergence and Stability of GANs", section 2.3; the scale of the noise is
    that of their code.
    """

    def __init__(self, *, weight: float = 10.0, interval: int = 1) -> None:
        self.weight = require_positive("dragan.weight", weight)
        self.interval = require_interval("dragan.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        noise = (torch.rand_like(real) - 0.5) * compute_standard_deviation(real)
        return self.weight * compute_norm_error(compute_gradients(discriminator, real + noise, labels))


class R1(Penalty):
    """Penalty on the squared gradient at the reals: (gamma / 2) E ||grad D(x)||^2. Mescheder et al. 2018, eq. 9."""

    def __init__(self, *, gamma: float = 10.0, interval: int = 1) -> None:
        self.gamma, self.interval = require_positive("r1.gamma", gamma), require_interval("r1.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.gamma / 2 * compute_gradients(discriminator, real, labels).square().sum(1).mean()


class R2(Penalty):
    """Penalty on the squared gradient at the fakes: (gamma / 2) E ||grad D(G(z))||^2. Mescheder et al. 2018, eq. 10."""

    def __init__(self, *, gamma: float = 10.0, interval: int = 1) -> None:
        self.gamma, self.interval = require_positive("r2.gamma", gamma), require_interval("r2.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.gamma / 2 * compute_gradients(discriminator, fake, labels).square().sum(1).mean()


def compute_gradients(discriminator: Discriminator, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradients (N, C*H*W) of each sample's logit with respect to its image, with their own graph."""
    if not (images.is_leaf and images.requires_grad):  # otherwise their logits may be known already
        images = images.detach().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        logits = discriminator(images, labels)
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0].flatten(1)


def compute_norm_error(gradients: Tensor) -> Tensor:
    """Return the mean over samples of (||gradient||_2 - 1)^2, a scalar, from gradients (N, C*H*W)."""
    return (gradients.norm(dim=1) - 1).square().mean()


def require_positive(key: str, value: float) -> float:
    """Return a weight; raise InputError unless it is above 0."""
    if not value > 0:
        raise InputError(f"penalty.{key}={value:g}: must be above 0; penalty=none turns penalties off")
    return value


def require_interval(key: str, value: int) -> int:
    """Return an interval as int; raise InputError unless it is a whole number, 1 or more."""
    if value < 1 or value != int(value):
        raise InputError(f"penalty.{key}={value:g}: must be a whole number of updates, 1 or more; 1 is every update")
    return int(value)
