"""The interface of a network whose features are compared."""

from typing import Protocol

from torch import Tensor


class Extractor(Protocol):
    """Maps images to features and, if it is a classifier, to logits, with no gradient and in float32.

    `name`, `sha256` (of the weights) and `resize` (in words) are part of each protocol. `num_features` is d, and
    `knows_classes` says that logit i is of the data's class i, so that conditional accuracy can be measured.
    """

    name: str
    sha256: str
    resize: str
    num_features: int
    knows_classes: bool

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return features (N, d) and logits (N, c), or None, of uint8 images (N, C, H, W) with 1 or 3 channels."""
        ...
