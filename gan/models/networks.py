"""The interfaces of the two networks, which every architecture of this folder and a user's own have."""

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class ClassifyingDiscriminator(Discriminator, Protocol):
    """A discriminator that also classifies images, by a loss that both players minimize beside their adversarial one.

    D minimizes it on reals, and with `classifies_fakes` on fakes too; G minimizes it on fakes. `auxiliary_weight`
    multiplies it for both. Penalties see the logits only.
    """

    auxiliary_weight: float
    classifies_fakes: bool

    def judge_and_classify(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N,), as when called, and the classifier's loss, a scalar, from one forward pass."""
        ...
