"""Residual critic of WGAN-GP (Gulrajani et al. 2017, appendix F, CIFAR-10) for the generator of resnet.py."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.models.layers import LogitLayer
from gan.models.resnet import build_trunk, initialize_glorot


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,), from mean-pooled features.

    It has no normalization, so that a gradient penalty is defined. Labels enter as one-hot planes beside the image.
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
        self.head = LogitLayer(width, 1)
        self.apply(initialize_glorot)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = relu(self.blocks(images, labels)).mean(dim=(2, 3), dtype=torch.float32)  # (N, width)
        return self.head(phi).squeeze(1)  # (N,)
