"""The baseline of every table: the conditional MLP GAN of a common take-home assignment on MNIST.

It is trained with least squares. At 28 px, one channel and ten classes both networks have 2,444,377 parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan.models.layers import LogitLayer


class Generator(nn.Module):
    """Map z (N, z_dim) and labels (N,) to images (N, channels, image_size, image_size) in [-1, 1].

    Labels are embedded in as many dimensions as there are classes. The original code has `batch_norm_eps=0.8`, where it
    means a momentum.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        z_dim: int = 100,
        hidden: Sequence[int] = (128, 256, 512, 1024),
        batch_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.embedding = build_embedding(num_classes)
        layers: list[nn.Module] = []
        inputs = z_dim + num_classes
        for i, outputs in enumerate(hidden):
            layers.append(nn.Linear(inputs, outputs))
            layers += [nn.BatchNorm1d(outputs, batch_norm_eps)] if i > 0 else []
            layers.append(nn.LeakyReLU(0.2))
            inputs = outputs
        self.body = nn.Sequential(*layers, nn.Linear(inputs, channels * image_size**2), nn.Tanh())
        self.shape = (channels, image_size, image_size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([embed_labels(self.embedding, labels), z], dim=1)  # (N, num_classes + z_dim)
        return self.body(x).unflatten(1, self.shape)  # (N, C, H, W)


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,)."""

    def __init__(
        self, *, channels: int, image_size: int, num_classes: int, width: int = 512, dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.embedding = build_embedding(num_classes)
        self.body = nn.Sequential(
            nn.Linear(num_classes + channels * image_size**2, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.Dropout(dropout),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.Dropout(dropout),
            nn.LeakyReLU(0.2),
            LogitLayer(width, 1),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        x = torch.cat([embed_labels(self.embedding, labels), images.flatten(1)], dim=1)  # (N, num_classes + C*H*W)
        return self.body(x).squeeze(1)  # (N,)


def build_embedding(num_classes: int) -> nn.Embedding | None:
    """Return an embedding of labels in num_classes dimensions, None without classes."""
    return nn.Embedding(num_classes, num_classes) if num_classes else None


def embed_labels(embedding: nn.Embedding | None, labels: Tensor) -> Tensor:
    """Return the vectors (N, num_classes) of labels (N,), or (N, 0) without an embedding."""
    return embedding(labels) if embedding is not None else labels.new_zeros(len(labels), 0).float()
