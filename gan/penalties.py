"""Penalties on the discriminator's gradient with respect to images, for any loss.

Each is called as `penalty(discriminator, real, fake, labels)` with images (N, C, H, W) in [-1, 1] and returns a scalar.
They run in float32 outside autocast: the squared norm of a bfloat16 gradient has two significant digits.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.errors import InputError


class GradientPenalty:
    """Two-sided penalty that holds the gradient's norm at 1 between reals and fakes.

    weight * E (||grad D(e x + (1 - e) G(z))||_2 - 1)^2 with one e ~ U[0, 1] for each sample and the norm taken over
    all of a sample's channels and pixels. Gulrajani et al. 2017, eq. 3, where weight is 10.
    """

    def __init__(self, *, weight: float = 10.0) -> None:
        if not weight > 0:
            raise InputError(f"penalty.gradient_penalty.weight={weight}: must be above 0 (penalty=none turns it off)")
        self.weight = weight

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        e = torch.rand(len(real), 1, 1, 1, device=real.device)
        norms = gradients(discriminator, torch.lerp(fake, real, e), labels).norm(dim=1)
        return self.weight * (norms - 1).square().mean()


def gradients(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return each sample's gradient of its own logit as a row (N, C*H*W) that can itself be differentiated."""
    images = images.detach().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        logits = discriminator(images, labels)
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0].flatten(1)


def require_per_sample_gradients(discriminator: nn.Module) -> None:
    """Raise InputError if a batch norm ties the samples of a batch together (Gulrajani et al. 2017, section 4)."""
    for name, module in discriminator.named_modules():
        if isinstance(module, _BatchNorm):
            raise InputError(
                f"model.discriminator.norm=batch: a gradient penalty needs a gradient for each sample, which batch "
                f"norm (layer {name!r}) mixes over the batch; use model.discriminator.norm=layer, or penalty=none"
            )
