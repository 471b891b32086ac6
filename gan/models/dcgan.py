"""DCGAN (Radford et al. 2016, figure 1), class-conditional by concatenating the label to z and to the image."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from gan.models.layers import (
    LabeledSequential,
    LabelPlaneConv2d,
    LogitLayer,
    MinibatchStd,
    apply_spectral_norm,
    build_norm,
    compute_logits,
    encode_labels,
    factor_image_size,
    initialize_normal,
    require_classes,
)


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    Transposed convolutions double the size from 4..7 px. The last one has `width` input channels, each one before it
    twice as many. Raises InputError for an image_size that is not 4..7 times a power of two.
    """

    def __init__(self, *, channels: int, image_size: int, num_classes: int, z_dim: int = 100, width: int = 128) -> None:
        super().__init__()
        self.z_dim, self.num_classes = z_dim, num_classes
        start, n = factor_image_size(image_size)
        widths = [width * 2**i for i in reversed(range(n))]
        self.project = nn.Sequential(
            nn.Linear(z_dim + num_classes, widths[0] * start**2, bias=False),
            nn.Unflatten(1, (widths[0], start, start)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())
        self.apply(initialize_normal)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([z, encode_labels(labels, self.num_classes)], dim=1)  # (N, z_dim + num_classes)
        x = self.project(x)  # (N, width * 2^(n-1), start, start)
        return self.body(x)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,).

    `norm` follows each convolution but the first: batch as in the paper; layer or none with a penalty, which needs the
    gradient of each sample by itself; or spectral, which normalizes all weights instead (Miyato et al. 2018).
    `minibatch_std` shows the last layer how much the samples of a batch differ, see `MinibatchStd`. With `projection`,
    labels enter as in Miyato & Koyama 2018, eq. 3, at the last layer instead of the first. Raises InputError for
    another norm, for projection without classes, and for an image_size as the generator does.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int = 128,
        norm: str = "batch",
        minibatch_std: bool = False,
        projection: bool = False,
    ) -> None:
        super().__init__()
        if projection:
            require_classes("dcgan_projection", num_classes, "projection", without="dcgan")
        start, n = factor_image_size(image_size)
        widths = [width * 2**i for i in range(n)]
        planes = 0 if projection else num_classes
        layers = [LabelPlaneConv2d(channels, planes, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (inputs, outputs) in enumerate(pairwise(widths), start=2):
            size = start * 2 ** (n - i)
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), build_norm(norm, outputs, size, size), nn.LeakyReLU(0.2)]
        layers += [MinibatchStd()] if minibatch_std else []
        self.body = LabeledSequential(*layers, nn.Flatten())
        features = (widths[-1] + minibatch_std) * start**2
        self.psi = LogitLayer(features, 1)
        self.v = nn.Embedding(num_classes, features) if projection else None
        self.apply(initialize_normal)
        if norm == "spectral":
            apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = self.body(images, labels)  # (N, features)
        return compute_logits(phi, labels, self.psi, self.v)
