"""Regularizers: penalties on the discriminator's logits, for any loss, with the interface of penalties.py.

They take no gradient with respect to images: a second forward pass is cheaper than differentiating twice, and
torch.compile can train it.
"""

import torch
from torch import Tensor, nn

from gan.augment import Augment, Shift
from gan.distributed import average_over_processes
from gan.errors import InputError
from gan.models.networks import Discriminator
from gan.penalties import Penalty, require_interval, require_positive


class ApproximateR1(Penalty):
    """R1 by a finite difference: weight * E (D(x) - D(x + sigma e))^2, with e ~ N(0, 1) drawn per pixel.

    For small sigma it is R1 with gamma = 2 weight sigma^2, 0.02 by default, and for a linear D exactly so in
    expectation. It computes in float32 outside autocast: the two logits differ by little. Dropout in D adds the
    difference of two masks.
    Lin et al. 2025, "Diffusion Adversarial Post-Training for One-Step Video Generation", approximated R1 loss, with
    their weight and the sigma that they use for images.
    """

    name = "approx_r1"
    differentiates_twice = False

    def __init__(self, *, weight: float = 100.0, sigma: float = 0.01, interval: int = 1) -> None:
        self.weight = require_positive(f"{self.name}.weight", weight)
        self.sigma = require_positive(f"{self.name}.sigma", sigma)
        self.interval = require_interval(f"{self.name}.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.weight * compute_response_to_noise(discriminator, real, labels, self.sigma)


class ApproximateR2(ApproximateR1):
    """R2 by a finite difference: weight * E (D(G(z)) - D(G(z) + sigma e))^2, see `ApproximateR1`."""

    name = "approx_r2"

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.weight * compute_response_to_noise(discriminator, fake, labels, self.sigma)


class Consistency(Penalty):
    """Consistency regularization (CR): weight * E (D(x) - D(T(x)))^2 on reals, with a random transform T.

    Zhang et al. 2020, "Consistency Regularization for Generative Adversarial Networks", algorithm 1, where the weight
    is 10 and T mirrors and shifts by a few pixels. `transform` is T, any augmentation without state; by default it
    shifts and does not mirror. It does not bound D's slope. It computes in the precision of the loss: the two logits
    differ by much more than bfloat16 rounds. Raises InputError for a transform with state.
    """

    per_sample = differentiates_twice = bounds_discriminator = False

    def __init__(self, *, weight: float = 10.0, transform: Augment | None = None, interval: int = 1) -> None:
        self.weight = require_positive("consistency.weight", weight)
        self.transform = require_stateless("consistency", transform or Shift())
        self.interval = require_interval("consistency.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.weight * compute_inconsistency(discriminator, real, labels, self.transform)


class BalancedConsistency(Penalty):
    """Consistency regularization of reals and fakes (bCR), each with a weight.

    real_weight * E (D(x) - D(T(x)))^2 + fake_weight * E (D(G(z)) - D(T(G(z))))^2. Zhao et al. 2021, "Improved
    Consistency Regularization for GANs", algorithm 1, where both weights are 10. The second term keeps T's artifacts
    out of the fakes. For the rest see `Consistency`.
    """

    per_sample = differentiates_twice = bounds_discriminator = False

    def __init__(
        self,
        *,
        real_weight: float = 10.0,
        fake_weight: float = 10.0,
        transform: Augment | None = None,
        interval: int = 1,
    ) -> None:
        self.real_weight = require_positive("balanced_consistency.real_weight", real_weight)
        self.fake_weight = require_positive("balanced_consistency.fake_weight", fake_weight)
        self.transform = require_stateless("balanced_consistency", transform or Shift())
        self.interval = require_interval("balanced_consistency.interval", interval)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        of_reals, of_fakes = (compute_inconsistency(discriminator, x, labels, self.transform) for x in (real, fake))
        return self.real_weight * of_reals + self.fake_weight * of_fakes


class LeCam(nn.Module):
    """Bound D's logits by their history: weight * (E (D(x) - a_fake)^2 + E (D(G(z)) - a_real)^2).

    The anchors a_real and a_fake are exponential moving averages of D's mean logits of reals and fakes over updates,
    which start at those of the first. They are buffers, and so part of each checkpoint, and equal in all processes.
    Tseng et al. 2021, "Regularizing Generative Adversarial Networks under Limited Data", R_LC of section 3, with the
    weight that they use for CIFAR-10 and the decay of their code. Their code differs: it squares only positive
    differences D(x) - a_fake and a_real - D(G(z)), and for CIFAR-10 starts after 1,000 steps. With a Wasserstein loss,
    D then estimates a LeCam divergence. It uses the logits of the loss, in their precision. Raises InputError for a
    decay outside [0, 1).
    """

    per_sample = differentiates_twice = False

    def __init__(self, *, weight: float = 0.3, decay: float = 0.99, interval: int = 1) -> None:
        super().__init__()
        self.weight, self.decay = require_positive("lecam.weight", weight), decay
        self.interval = require_interval("lecam.interval", interval)
        if not 0 <= decay < 1:
            raise InputError(f"penalty.lecam.decay={decay:g}: must be at least 0 and below 1")
        self.register_buffer("anchors", torch.zeros(2))  # of reals and of fakes
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        real_logits, fake_logits = (discriminator(images, labels).float() for images in (real, fake))
        self.update_anchors(torch.stack([real_logits.mean(), fake_logits.mean()]))
        of_reals, of_fakes = self.anchors
        return self.weight * ((real_logits - of_fakes).square().mean() + (fake_logits - of_reals).square().mean())

    @torch.no_grad()
    def update_anchors(self, means: Tensor) -> None:
        """Include the mean logits (2,) of this update's reals and fakes in the anchors."""
        means = average_over_processes(means)
        self.anchors.copy_(torch.where(self.updates > 0, torch.lerp(means, self.anchors, self.decay), means))
        self.updates += 1


def compute_response_to_noise(discriminator: Discriminator, images: Tensor, labels: Tensor, sigma: float) -> Tensor:
    """Return the mean squared change of D's logits by noise of standard deviation `sigma`, a scalar."""
    with torch.autocast(images.device.type, enabled=False):
        noisy = images + sigma * torch.randn_like(images)
        # in one forward pass: spectral norm changes the weights a little at each, and so the logits
        logits, noisy_logits = discriminator(torch.cat([images, noisy]), torch.cat([labels, labels])).chunk(2)
        return (logits - noisy_logits).square().mean()


def compute_inconsistency(discriminator: Discriminator, images: Tensor, labels: Tensor, transform: Augment) -> Tensor:
    """Return the mean squared change of D's logits by a transform of the images, a scalar."""
    with torch.no_grad():
        transformed = transform(images)
    return (discriminator(images, labels).float() - discriminator(transformed, labels).float()).square().mean()


def require_stateless(name: str, transform: Augment) -> Augment:
    """Return a transform; raise InputError for one with buffers, which only `augment` adapts and saves."""
    if any(True for _ in transform.buffers()):
        raise InputError(
            f"penalty.{name}.transform: {type(transform).__name__} adapts to the run; must be an augmentation without "
            "state, gan.augment.Shift or gan.augment.DiffAugment"
        )
    return transform
