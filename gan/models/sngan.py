"""Residual discriminator with spectral norm (Miyato et al. 2018, table 4) for the generator of resnet.py."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.models.layers import LogitLayer, apply_spectral_norm
from gan.models.resnet import build_trunk, initialize_glorot


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,), from sum-pooled features.

    Labels enter as one-hot planes beside the image, the "concat" of Miyato & Koyama 2018, figure 1b.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int = 128,
        attention: int | None = None,
        minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = build_trunk(channels, num_classes, width, image_size, attention, minibatch_std=minibatch_std)
        self.psi = LogitLayer(width, 1)
        self.apply(initialize_glorot)
        apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = relu(self.blocks(images, labels)).sum(dim=(2, 3), dtype=torch.float32)  # (N, width)
        return self.psi(phi).squeeze(1)  # (N,)
