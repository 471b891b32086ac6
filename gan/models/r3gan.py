"""A small R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!", config E): ResNeXt without normalization.

It is meant for loss=rpgan with penalties r1 and r2. It has grouped inverted bottlenecks, biased leaky ReLUs, bilinear
resampling, and residual branches that are initialized to zero (Fixup). Unlike the paper's, the generator ends in a
tanh, so that images are in [-1, 1].
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from gan.models.layers import LogitLayer, encode_labels, factor_image_size

GAIN = (2 / (1 + 0.2**2)) ** 0.5  # keeps the variance through a leaky ReLU of slope 0.2


class BiasedLeakyReLU(nn.Module):
    """Add a bias per channel, then apply leaky ReLU: (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x + self.bias, 0.2)


class Block(nn.Module):
    """A residual block on maps (N, channels, H, W): an inverted bottleneck of twice the channels, in groups of `group`.

    `n_blocks` is the number of blocks in the network; the more, the smaller their first weights (Zhang et al. 2019,
    Fixup).
    """

    def __init__(self, channels: int, n_blocks: int, group: int = 16) -> None:
        super().__init__()
        inner = 2 * channels
        gain = GAIN * n_blocks ** (-1 / 4)
        self.branch = nn.Sequential(
            initialize_scaled(nn.Conv2d(channels, inner, 1, bias=False), gain),
            BiasedLeakyReLU(inner),
            initialize_scaled(nn.Conv2d(inner, inner, 3, padding=1, groups=max(inner // group, 1), bias=False), gain),
            BiasedLeakyReLU(inner),
            initialize_scaled(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Resample(nn.Module):
    """Resample (N, inputs, H, W) to (N, outputs, factor H, factor W), with a 1x1 convolution at the smaller size."""

    def __init__(self, inputs: int, outputs: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        same = inputs == outputs
        self.channels = nn.Identity() if same else initialize_scaled(nn.Conv2d(inputs, outputs, 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.factor < 1:
            return self.channels(avg_pool2d(x, 2))  # the same as bilinear interpolation to half the size
        return interpolate(self.channels(x), scale_factor=self.factor, mode="bilinear")


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    It starts from a learned basis at 4..7 px, weighted by a linear map of z and label, and has `blocks` blocks at each
    size, with `width` channels at the last and twice as many at each size before it, up to 8 times. Raises InputError
    for an image_size that is not 4..7 times a power of two.
    """

    def __init__(
        self, *, channels: int, image_size: int, num_classes: int, z_dim: int = 64, width: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes = z_dim, num_classes
        start, widths = plan_stages(image_size, width)
        widths = widths[::-1]
        self.basis = nn.Parameter(torch.randn(widths[0], start, start))
        self.weights = initialize_scaled(nn.Linear(z_dim + num_classes, widths[0], bias=False), 1.0)
        layers = [Block(widths[0], blocks * len(widths)) for _ in range(blocks)]
        for inputs, outputs in pairwise(widths):
            layers.append(Resample(inputs, outputs, 2))
            layers += [Block(outputs, blocks * len(widths)) for _ in range(blocks)]
        self.body = nn.Sequential(
            *layers, initialize_scaled(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0), nn.Tanh()
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([z, encode_labels(labels, self.num_classes)], dim=1)  # (N, z_dim + num_classes)
        x = self.basis * self.weights(x)[:, :, None, None]  # (N, width * 2^n, start, start)
        return self.body(x)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,).

    It mirrors the generator. With classes the logit is the inner product of `features` features with a learned vector
    of the class. Raises InputError for an image_size as the generator does.
    """

    def __init__(
        self, *, channels: int, image_size: int, num_classes: int, width: int = 32, blocks: int = 1, features: int = 64
    ) -> None:
        super().__init__()
        start, widths = plan_stages(image_size, width)
        layers: list[nn.Module] = [initialize_scaled(nn.Conv2d(channels, widths[0], 1, bias=False), 1.0)]
        layers += [Block(widths[0], blocks * len(widths)) for _ in range(blocks)]
        for inputs, outputs in pairwise(widths):
            layers.append(Resample(inputs, outputs, 0.5))
            layers += [Block(outputs, blocks * len(widths)) for _ in range(blocks)]
        basis = nn.Conv2d(widths[-1], widths[-1], start, groups=widths[-1], bias=False)
        self.body = nn.Sequential(*layers, initialize_scaled(basis, 1.0), nn.Flatten())
        self.head = initialize_scaled(LogitLayer(widths[-1], features if num_classes else 1, bias=False), 1.0)
        self.v = nn.Embedding(num_classes, features) if num_classes else None
        if self.v is not None:
            nn.init.normal_(self.v.weight, std=features**-0.5)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = self.head(self.body(images))  # (N, features), or (N, 1) without classes, float32
        return phi.squeeze(1) if self.v is None else (phi * self.v(labels)).sum(1)  # (N,)


def plan_stages(image_size: int, width: int) -> tuple[int, list[int]]:
    """Return the smallest size and the channels at each size, from the largest size to the smallest."""
    start, n = factor_image_size(image_size)
    return start, [width * 2 ** min(i, 3) for i in range(n + 1)]


def initialize_scaled(layer: nn.Module, gain: float) -> nn.Module:
    """Draw the weights of a layer from N(0, gain^2 / fan-in), and return it."""
    nn.init.normal_(layer.weight, 0.0, gain * layer.weight[0].numel() ** -0.5)
    return layer
