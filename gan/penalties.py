"""Penalties on the discriminator's gradient with respect to images, for any loss.

Each is called as `penalty(discriminator, real, fake, labels)` with images (N, C, H, W) and returns a scalar. They run
in float32 outside autocast: the squared norm of a bfloat16 gradient has two significant digits. A penalty with an
`interval` k above 1 is computed in every k-th discriminator update only, and then counts k times: lazy regularisation
(Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.1). With an augmentation the
images are the augmented ones, which are what D sees.
"""

import torch
from torch import Tensor, nn

from gan.distributed import compute_standard_deviation
from gan.errors import InputError


class GradientPenalty:
    """Two-sided penalty that holds the gradient's norm at 1 between reals and fakes.

    weight * E (||grad D(e x + (1 - e) G(z))||_2 - 1)^2 with one e ~ U[0, 1] for each sample and the norm taken over
    all of a sample's channels and pixels. Gulrajani et al. 2017, eq. 3, where weight is 10.
    """

    def __init__(self, *, weight: float = 10.0, interval: int = 1) -> None:
        self.weight = require_positive("gradient_penalty.weight", weight)
        self.interval = require_interval("gradient_penalty.interval", interval)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        e = torch.rand(len(real), 1, 1, 1, device=real.device)
        return self.weight * compute_norm_error(compute_gradients(discriminator, torch.lerp(fake, real, e), labels))


class DRAGAN:
    """Two-sided penalty that holds the gradient's norm at 1 around the reals.

    weight * E (||grad D(x + d)||_2 - 1)^2, d uniform in +-0.5 standard deviations of the batch's pixels, drawn for each
    pixel. Kodali et al. 2017, "On Convergence and Stability of GANs", section 2.3; the noise's scale is of their code.
    """

    def __init__(self, *, weight: float = 10.0, interval: int = 1) -> None:
        self.weight = require_positive("dragan.weight", weight)
        self.interval = require_interval("dragan.interval", interval)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        noise = (torch.rand_like(real) - 0.5) * compute_standard_deviation(real)
        return self.weight * compute_norm_error(compute_gradients(discriminator, real + noise, labels))


class R1:
    """Penalty on the squared gradient at the reals: (gamma / 2) E ||grad D(x)||^2. Mescheder et al. 2018, eq. 9."""

    def __init__(self, *, gamma: float = 10.0, interval: int = 1) -> None:
        self.gamma, self.interval = require_positive("r1.gamma", gamma), require_interval("r1.interval", interval)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.gamma / 2 * compute_gradients(discriminator, real, labels).square().sum(1).mean()


class R2:
    """Penalty on the squared gradient at the fakes: (gamma / 2) E ||grad D(G(z))||^2. Mescheder et al. 2018, eq. 10."""

    def __init__(self, *, gamma: float = 10.0, interval: int = 1) -> None:
        self.gamma, self.interval = require_positive("r2.gamma", gamma), require_interval("r2.interval", interval)

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.gamma / 2 * compute_gradients(discriminator, fake, labels).square().sum(1).mean()


def compute_gradients(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return each sample's gradient of its own logit as a row (N, C*H*W) that can itself be differentiated."""
    images = images.detach().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        logits = discriminator(images, labels)
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0].flatten(1)


def compute_norm_error(gradients: Tensor) -> Tensor:
    """Return the mean over samples of the squared distance of their gradient's norm from 1."""
    return (gradients.norm(dim=1) - 1).square().mean()


def require_positive(key: str, value: float) -> float:
    if not value > 0:
        raise InputError(f"penalty.{key}={value:g}: must be above 0 (penalty=none turns it off)")
    return value


def require_interval(key: str, value: int) -> int:
    if value < 1 or value != int(value):
        raise InputError(f"penalty.{key}={value:g}: must be a whole number of updates, 1 (each of them) or more")
    return int(value)
