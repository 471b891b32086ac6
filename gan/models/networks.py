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
class AuxiliaryDiscriminator(Discriminator, Protocol):
    """A discriminator with an auxiliary task, such as classifying images, whose loss both players minimize too.

    In D's update the loss counts on the images that `auxiliary_on` names, "real", "fake" or both; in G's update it
    counts on fakes. `auxiliary_weight` multiplies it. Penalties see the logits only.
    """

    auxiliary_weight: float
    auxiliary_on: tuple[str, ...]

    def judge_with_auxiliary(self, images: Tensor, labels: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (N,), as when called, and the loss of the auxiliary task, a scalar, from one forward pass.

        z (N, z_dim) is the input from which fakes were generated, None for reals.
        """
        ...


@runtime_checkable
class CodedGenerator(Generator, Protocol):
    """A generator with a latent code, which is a part of z; sample grids show what each part of the code changes."""

    def traverse_code(self, z: Tensor) -> dict[str, Tensor]:
        """Return rows (n, z_dim) by name, made from z (n, z_dim): one per category and one per number of the code."""
        ...
