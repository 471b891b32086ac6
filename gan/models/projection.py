"""Projection discriminator (Miyato & Koyama 2018) for the residual generator of resnet.py."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.models.layers import LogitLayer, apply_spectral_norm, compute_logits, require_classes
from gan.models.resnet import build_trunk, initialize_glorot


class Discriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits <v_y, phi(x)> + psi(phi(x)), (N,).

    phi are sum-pooled features (N, width). All layers have spectral norm, the class vectors v included.
    Miyato & Koyama 2018, eq. 3. Raises InputError without classes.
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
        require_classes("projection", num_classes, "projection")
        # no classes: labels enter at the end only
        self.blocks = build_trunk(channels, 0, width, image_size, attention, minibatch_std=minibatch_std)
        self.psi, self.v = LogitLayer(width, 1), nn.Embedding(num_classes, width)
        self.apply(initialize_glorot)
        nn.init.xavier_uniform_(self.v.weight)  # as in the authors' code
        apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        phi = relu(self.blocks(images, labels)).sum(dim=(2, 3), dtype=torch.float32)  # (N, width)
        return compute_logits(phi, labels, self.psi, self.v)
