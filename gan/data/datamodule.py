"""Loading of images: uint8 in memory, batches in a seeded order, normalized to [-1, 1] on the device."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gan.data.fraction import choose_fraction
from gan.data.latents import Latents
from gan.data.pixels import to_float
from gan.errors import InputError
from gan.system.signals import ignore_signals


class Images(Dataset):
    """Images (N, C, H, W) uint8 and labels (N,) int64, in memory or memory-mapped, read one batch at a time.

    Points are such images in float32. `fingerprint` is a hash of the content, if it is known.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, fingerprint: str | None = None) -> None:
        self.images, self.labels, self.known_fingerprint = images, labels, fingerprint

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices], self.labels[indices]

    def select(self, indices: Tensor) -> "Images":
        """Return a copy of the chosen images, by indices (n,)."""
        return Images(self.images[indices], self.labels[indices])

    def fingerprint(self) -> str:
        """Return a hash (hexadecimal) of all pixels, their shape and the labels."""
        if self.known_fingerprint:
            return self.known_fingerprint
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy().tobytes())
        self.known_fingerprint = digest.hexdigest()
        return self.known_fingerprint


class Batches(Sampler[list[int]]):
    """Batches of indices: a permutation per epoch, a function of seed and epoch, divided among the processes.

    Iteration starts at batch number `step()`, the number of batches that training has taken, so that a run that resumes
    in the middle of an epoch continues with the next batch. The last images of an epoch, fewer than a batch, are left
    out of it.
    """

    def __init__(
        self, size: int, batch_size: int, *, seed: int, step: Callable[[], int], rank: int, world: int
    ) -> None:
        self.size, self.batch_size, self.seed, self.step = size, batch_size, seed, step
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.size // self.world // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        epoch, done = divmod(self.step(), len(self))
        random = torch.Generator().manual_seed(self.seed * 2**20 + epoch)
        mine = torch.randperm(self.size, generator=random)[self.rank :: self.world]
        for batch in mine.split(self.batch_size)[done : len(self)]:
            yield batch.tolist()


class ImageData(LightningDataModule):
    """Real images to train on and to score against, and `latents`, on which the generator is validated.

    A training batch holds `n_critic * batch_size` images, so that each discriminator update of a step has reals of its
    own. Images are (N, channels, image_size, image_size), uint8 in `splits` and float32 in [-1, 1] in training.
    `domain` names the shipped classifier that knows these images. Subclasses define `load`, which also sets `classes`,
    the names of the classes, and `summary`, one line on what was loaded. The caller sets `latents` after `setup`.
    Of the training split, `fraction` is used (see `choose_fraction`); the test split stays whole.
    Raises InputError for channels not in `channel_choices`, an image_size below 1 and a fraction outside (0, 1].
    """

    channel_choices: Sequence[int] = (1, 3)
    classes: Sequence[str] = ()
    summary: str = ""
    latents: Latents

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        batch_size: int,
        domain: str | None = None,
        num_workers: int = 0,
        n_critic: int = 1,
        seed: int = 0,
        fraction: float = 1.0,
    ) -> None:
        super().__init__()
        if channels not in self.channel_choices:
            raise InputError(f"data.channels={channels}: must be 1 (gray) or 3 (RGB)")
        if image_size < 1:
            raise InputError(f"data.image_size={image_size}: must be at least 1")
        if not 0 < fraction <= 1:
            raise InputError(f"data.fraction={fraction:g}: must be above 0 and at most 1, such as 0.1")
        self.channels, self.image_size, self.domain = channels, image_size, domain
        self.batch_size, self.num_workers, self.n_critic, self.seed = batch_size, num_workers, n_critic, seed
        self.fraction = fraction
        self.splits: dict[str, Images] = {}

    @abstractmethod
    def load(self) -> dict[str, Images]:
        """Return the splits "train" and "test"; "test" may be empty."""

    def load_splits(self) -> dict[str, Images]:
        """Return the splits, the training split reduced to its `fraction`, which the summary then mentions."""
        splits = self.load()
        if self.fraction < 1:
            train = splits["train"]
            splits["train"] = train.select(choose_fraction(train.labels, self.fraction))
            used = f"data.fraction={self.fraction:g}: trains on {len(splits['train']):,} of {len(train):,} images"
            self.summary = "; ".join(filter(None, [self.summary, used]))
        return splits

    def list_sources(self) -> Sequence[Path] | None:
        """Return the files that `load` reads; None if they are not known, and must be loaded again for each run."""
        return None

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        self.splits = self.load_splits()
        self.require_batches()

    def require_batches(self, n_processes: int = 1) -> None:
        """Raise InputError unless there are enough training images for one batch in each process."""
        if self.batch_size < 1:
            raise InputError(f"data.batch_size={self.batch_size}: must be at least 1")
        needed, available = n_processes * self.n_critic * self.batch_size, len(self.splits["train"])
        if needed > available:
            processes = f" times {n_processes} processes" if n_processes > 1 else ""
            raise InputError(
                f"data.batch_size={self.batch_size}: a step takes batch_size times n_critic ({self.n_critic})"
                f"{processes}, so at least {needed:,} training images are needed; there are {available:,}"
            )

    def fingerprint(self) -> str:
        """Return a hash of the images and labels of all splits."""
        parts = {split: images.fingerprint() for split, images in sorted(self.splits.items())}
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def shape(self) -> dict[str, int]:
        """The arguments of networks for these images: channels, image_size and num_classes (0 without labels)."""
        num_classes = len(self.classes) if len(self.classes) > 1 else 0
        return {"channels": self.channels, "image_size": self.image_size, "num_classes": num_classes}

    def train_dataloader(self) -> DataLoader:
        trainer, train = self.trainer, self.splits["train"]
        batches = Batches(
            len(train),
            self.n_critic * self.batch_size,
            seed=self.seed,
            step=lambda: trainer.global_step,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        return DataLoader(
            train,
            batch_sampler=batches,
            collate_fn=skip_collation,
            num_workers=self.num_workers,
            worker_init_fn=ignore_signals,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without one, the loader would draw from the global generator
        )

    def val_dataloader(self) -> DataLoader:
        return self.latents.build_loader(rank=self.trainer.global_rank, world=self.trainer.world_size)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return (to_float(images) if images.dtype == torch.uint8 else images), labels


def skip_collation(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the batch as it is: `Images` are read one batch at a time, not one by one."""
    return batch
