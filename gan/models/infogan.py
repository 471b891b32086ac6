"""InfoGAN's networks (Chen et al. 2016), on which "Are GANs Created Equal?" compares losses (Lucic et al. 2018)."""

import torch
from torch import Tensor, nn

from gan.errors import InputError
from gan.models.layers import (
    LabeledSequential,
    LabelPlaneConv2d,
    LogitLayer,
    apply_spectral_norm,
    build_norm,
    encode_labels,
    initialize_normal,
)


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    Two dense and two transposed convolutional layers; labels are concatenated to z. Raises InputError for an
    image_size that is not a multiple of 4, 8 or more.
    """

    def __init__(
        self, *, channels: int, image_size: int, num_classes: int, z_dim: int = 64, width: int = 64, hidden: int = 1024
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes = z_dim, num_classes
        start = quarter_image_size(image_size)
        self.body = nn.Sequential(
            nn.Linear(z_dim + num_classes, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * width * start**2),
            nn.BatchNorm1d(2 * width * start**2),
            nn.ReLU(),
            nn.Unflatten(1, (2 * width, start, start)),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
            nn.Tanh(),
        )
        self.apply(initialize_normal)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([z, encode_labels(labels, self.num_classes)], dim=1)  # (N, z_dim + num_classes)
        return self.body(x)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,); labels enter as planes.

    `norm` follows the second convolution and the dense layer: batch, layer, none, or spectral, which normalizes all
    weights instead. Raises InputError for another norm, and for an image_size as the generator does.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int = 64,
        hidden: int = 1024,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        end = quarter_image_size(image_size)
        self.body = LabeledSequential(
            LabelPlaneConv2d(channels, num_classes, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            build_norm(norm, 2 * width, end, end),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * end**2, hidden),
            build_norm(norm, hidden),
            nn.LeakyReLU(0.2),
            LogitLayer(hidden, 1),
        )
        self.apply(initialize_normal)
        if norm == "spectral":
            apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.body(images, labels).squeeze(1)  # (N,)


def quarter_image_size(image_size: int) -> int:
    """Return a quarter of image_size; raise InputError unless it is a multiple of 4, 8 or more."""
    if image_size < 8 or image_size % 4:
        raise InputError(
            f"data.image_size={image_size}: this model needs a multiple of 4, 8 or more (28, 32, 64, ...); "
            "model=mlp takes any size, and points"
        )
    return image_size // 4
