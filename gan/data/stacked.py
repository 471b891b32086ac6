"""Stacked MNIST: images of three digits each, one per color channel, with 1,000 modes."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from gan.data.datamodule import ImageData, Images
from gan.data.datasets import MNIST5k, Torchvision

SIZES = {"train": 128_000, "test": 26_000}  # PacGAN's training images and, for the test, its number of samples
SEED = 0  # of its own: runs that differ in their seed train on the same images
MODE_OF_DIGITS = (100, 10, 1)


class StackedImages(Images):
    """Images (N, 3, H, W) uint8 of three digits each, composed as they are read; labels (N,) are their modes, 0 to 999.

    `digits` are the gray digits; row i of `triples` (N, 3) has the indices of those in the channels of image i. The
    mode of the digits 3, 0, 7 is 307. 128,000 images would fill 300 MB; their triples have 3 MB.
    """

    def __init__(self, digits: Images, triples: Tensor) -> None:
        self.digits, self.triples, self.known_fingerprint = digits, triples, None
        self.labels = (digits.labels[triples] * torch.tensor(MODE_OF_DIGITS)).sum(1)

    @property
    def images(self) -> Tensor:
        """All images, composed."""
        return self.digits.images[self.triples].squeeze(2)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.digits.images[self.triples[indices]].squeeze(2), self.labels[indices]

    def select(self, indices: Tensor) -> "StackedImages":
        return StackedImages(self.digits, self.triples[indices])

    def fingerprint(self) -> str:
        """Return a hash (hexadecimal) of the digits, their labels, and the triples."""
        if not self.known_fingerprint:
            content = hashlib.sha256(self.digits.fingerprint().encode())
            content.update(self.triples.contiguous().numpy().tobytes())
            self.known_fingerprint = content.hexdigest()
        return self.known_fingerprint


class StackedMNIST(ImageData):
    """Three MNIST digits as the channels of an RGB image, drawn independently with a seed of its own; unconditional.

    Metz et al. 2017, "Unrolled Generative Adversarial Networks", section 3.3.1; 128,000 training images as in Lin et
    al. 2018 (PacGAN), section 4.2, and 26,000 test images, of training and of test digits. The digits are those of
    `MNIST5k` or, with `root`, MNIST's in that folder. Files of both are cached in `cache_dir`.
    """

    def __init__(self, *, root: str | None = None, cache_dir: str | None = None, image_size: int, **options) -> None:
        super().__init__(channels=3, image_size=image_size, **options)
        gray = {"channels": 1, "image_size": image_size, "batch_size": 1, "cache_dir": cache_dir}
        self.digits = Torchvision(dataset=MNIST, root=root, **gray) if root else MNIST5k(**gray)

    def list_sources(self) -> list[Path] | None:
        return self.digits.list_sources()

    def load(self) -> dict[str, Images]:
        digits, random = self.digits.load(), torch.Generator().manual_seed(SEED)
        splits = {}
        for split, size in SIZES.items():
            triples = torch.randint(len(digits[split]), (size, 3), generator=random)
            splits[split] = StackedImages(digits[split], triples)
        self.summary = (
            f"{SIZES['train']:,} images of three digits each, out of {len(digits['train']):,}, and {SIZES['test']:,} "
            f"for testing, out of {len(digits['test']):,} others"
        )
        return splits
