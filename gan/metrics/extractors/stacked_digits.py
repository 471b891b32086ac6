"""The modes of Stacked MNIST: the digits that a classifier finds in the three channels."""

import torch
from torch import Tensor

from gan.data.pixels import to_uint8
from gan.data.stacked import MODE_OF_DIGITS, StackedMNIST
from gan.errors import InputError
from gan.metrics.extractors.classifier import Classifier


class StackedDigits:
    """Maps images (N, 3, H, W), uint8 or float in [-1, 1], to their modes (N,), 0 to 999: the digits of their channels.

    The classifier predicts a digit for any channel, so no image is of low quality. `mode_shares` (1000,) are those of
    all stacks of three training digits. Lin et al. 2018 (PacGAN), section 4.2. Raises InputError for other data.
    """

    num_features, num_modes, knows_classes = 1, 1000, False

    def __init__(self, data: StackedMNIST, *, weights_path: str) -> None:
        if not isinstance(data, StackedMNIST):
            raise InputError("metrics=stacked_modes: these images are not stacked digits; use data=stacked_mnist")
        self.classifier = Classifier(weights_path=weights_path)
        self.name, self.resize = f"{self.classifier.name} of each channel", self.classifier.resize
        self.sha256 = self.classifier.sha256
        shares = data.splits["train"].digits.labels.bincount(minlength=10).double()
        shares = shares / shares.sum()
        self.mode_shares = torch.einsum("a,b,c->abc", shares, shares, shares).flatten()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the modes (N,) int64; raise ValueError for floats outside of [-1, 1], or not finite."""
        pixels = to_uint8(images) if images.is_floating_point() else images
        digits = self.classifier(pixels.flatten(0, 1)[:, None])[1].argmax(1).view(-1, 3)
        return (digits * torch.tensor(MODE_OF_DIGITS, device=digits.device)).sum(1)
