"""Fully connected generator and discriminator, class-conditional by concatenation (Mirza & Osindero 2014).

Weights are initialized as torch does: uniform within +-1 / sqrt(fan-in).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan.models.layers import LogitLayer, encode_labels


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1]."""

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        z_dim: int = 100,
        hidden: Sequence[int] = (256, 512, 1024),
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes = z_dim, num_classes
        widths = [z_dim + num_classes, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], channels * image_size**2), nn.Tanh())
        self.shape = (channels, image_size, image_size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([z, encode_labels(labels, self.num_classes)], dim=1)  # (N, z_dim + num_classes)
        return self.body(x).unflatten(1, self.shape)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,)."""

    def __init__(self, *, channels: int, image_size: int, num_classes: int, hidden: Sequence[int] = (512, 256)) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = [channels * image_size**2 + num_classes, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, LogitLayer(widths[-1], 1))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([images.flatten(1), encode_labels(labels, self.num_classes)], dim=1)  # (N, C*H*W + num_classes)
        return self.body(x).squeeze(1)  # (N,)
