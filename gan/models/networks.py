"""The interfaces of the two networks, which every architecture of this folder and a user's own have."""

from typing import Protocol

from torch import Tensor


class Generator(Protocol):
    """An nn.Module that maps z and labels to images.

    It is built with `channels`, `image_size` and `num_classes` of the data (0 classes: unconditional), beside what its
    config says, and ignores the labels if it is unconditional.
    """

    z_dim: int

    def __call__(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return images (N, channels, image_size, image_size) in [-1, 1] from z (N, z_dim) and labels (N,) int64."""
        ...


class Discriminator(Protocol):
    """An nn.Module that maps images and labels to one raw logit each, with no sigmoid; built like the generator."""

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (N,) from images (N, channels, image_size, image_size) and labels (N,) int64.

        Images are in [-1, 1], except where an augmentation widens the range.
        """
        ...
