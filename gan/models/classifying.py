"""What acgan and reacgan share: sngan's discriminator without labels, with a classifier beside its logit."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.models.layers import LogitLayer, apply_spectral_norm, require_auxiliary_weight, require_classes
from gan.models.resnet import build_trunk, initialize_glorot


class ClassifyingDiscriminator(nn.Module):
    """Map images (N, channels, image_size, image_size) and labels (N,) to logits (N,) that do not depend on the labels.

    An `AuxiliaryDiscriminator` of networks.py. A subclass adds the layers of its classifier, calls
    `initialize_layers`, and defines `compute_auxiliary_loss`. Raises InputError without classes, for an
    `auxiliary_weight` that is not above 0, and for an attention that is not the size in px of a block's maps.
    """

    auxiliary_on: tuple[str, ...]

    def __init__(
        self,
        model: str,
        *,
        channels: int,
        image_size: int,
        num_classes: int,
        width: int,
        attention: int | None,
        auxiliary_weight: float,
    ) -> None:
        super().__init__()
        require_classes(model, num_classes, "classifier")
        require_auxiliary_weight(auxiliary_weight, "sngan", "classifier")
        self.auxiliary_weight = auxiliary_weight
        self.blocks = build_trunk(channels, 0, width, image_size, attention)
        self.psi = LogitLayer(width, 1)

    def initialize_layers(self) -> None:
        """Draw the weights of all layers as sngan's, and give them spectral norm."""
        self.apply(initialize_glorot)
        apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.psi(self.extract_features(images, labels)).squeeze(1)  # (N,)

    def judge_with_auxiliary(self, images: Tensor, labels: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (N,) and the classifier's loss, a scalar, of images and their labels (N,)."""
        phi = self.extract_features(images, labels)
        return self.psi(phi).squeeze(1), self.compute_auxiliary_loss(phi, labels)

    def extract_features(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return sum-pooled features (N, width) in float32."""
        return relu(self.blocks(images, labels)).sum(dim=(2, 3), dtype=torch.float32)

    def compute_auxiliary_loss(self, phi: Tensor, labels: Tensor) -> Tensor:
        """Return the classifier's loss, a scalar, from features (N, width) and labels (N,)."""
        raise NotImplementedError
