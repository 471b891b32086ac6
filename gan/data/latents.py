"""The z and labels that a generator is scored on, the same in every evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

BATCH_SIZE = 250


class Latents:
    """`n` pairs of a z (z_dim,) and a label; z is drawn from `prior` with a seed.

    Classes are as frequent as in `labels` (N,), those of the training images.
    """

    def __init__(self, prior: Callable[..., Tensor], *, z_dim: int, n: int, labels: Tensor, seed: int = 0) -> None:
        self.prior, self.z_dim, self.n, self.labels, self.seed = prior, z_dim, n, labels, seed

    def draw(self, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Return z (n, z_dim) and sorted labels (n,); `seed` replaces the seed of z."""
        chosen = torch.linspace(0, len(self.labels) - 1, self.n).round().long()
        random = torch.Generator().manual_seed(self.seed if seed is None else seed)
        return self.prior(self.n, self.z_dim, generator=random), self.labels.sort().values[chosen]

    def build_loader(self, seed: int | None = None, *, rank: int = 0, world: int = 1) -> DataLoader:
        """Return a loader of batches (z, labels) of up to 250, for one of `world` processes.

        A process gets every `world`-th batch, beginning with that of its rank: together they have each pair once.
        """
        size = min(BATCH_SIZE, -(-self.n // world))
        batches = list(zip(*(part.split(size) for part in self.draw(seed)), strict=True))
        return DataLoader(batches[rank::world], batch_size=None, generator=torch.Generator())
