"""Mixtures of Gaussians in the plane, whose modes are known: the benchmarks of mode collapse."""

import math
from pathlib import Path

import torch
from torch import Tensor

from gan.data.datamodule import ImageData, Images
from gan.errors import InputError

DRAW_SEED = 0  # of the points: all runs have the same ones
SIZES = {"train": 100_000, "test": 10_000}  # points; PacGAN trains on 100,000


class Points(ImageData):
    """Points of a mixture of equally likely Gaussians, as images (N, 2, 1, 1) float32 in [-1, 1] without labels.

    `centers` (M, 2) and `std` are those of the modes after division by `scale`. The points are drawn from a generator
    of their own, and so are the same in all runs.
    """

    channel_choices = (2,)

    def __init__(self, *, centers: Tensor, std: float, scale: float, **options) -> None:
        super().__init__(channels=2, image_size=1, **options)
        self.centers, self.std = centers / scale, std / scale
        self.summary = f"{SIZES['train']:,} points in {len(centers)} modes"

    def list_sources(self) -> list[Path]:
        return []  # none: the points are drawn

    def load(self) -> dict[str, Images]:
        random = torch.Generator().manual_seed(DRAW_SEED)
        return {split: Images(self.draw(n, random), torch.zeros(n, dtype=torch.long)) for split, n in SIZES.items()}

    def draw(self, n: int, random: torch.Generator) -> Tensor:
        """Return n points (n, 2, 1, 1), each of a mode drawn at random."""
        modes = torch.randint(len(self.centers), (n,), generator=random)
        noise = torch.randn(n, 2, generator=random)
        return (self.centers[modes] + self.std * noise).view(n, 2, 1, 1)


def require_pixels(data: ImageData, key: str, instead: str) -> None:
    """Raise InputError for data that are points, where `key` needs images; `instead` is what to do."""
    if isinstance(data, Points):
        raise InputError(f"{key}: needs images, and these data are points; {instead}")


class Ring8(Points):
    """A ring of 8 modes with radius 1 and standard deviation 0.01, divided by 1.25.

    Srivastava et al. 2017 (VEEGAN), section 4, and Lin et al. 2018 (PacGAN), section 4.1.
    """

    def __init__(self, **options) -> None:
        angles = torch.arange(8) * (2 * math.pi / 8)
        centers = torch.stack([angles.cos(), angles.sin()], dim=1)
        super().__init__(centers=centers, std=0.01, scale=1.25, **options)


class Grid25(Points):
    """A grid of 25 modes at {-4, -2, 0, 2, 4}^2 with standard deviation 0.05, divided by 5.

    Srivastava et al. 2017 (VEEGAN), section 4, and Lin et al. 2018 (PacGAN), section 4.1.
    """

    def __init__(self, **options) -> None:
        axis = torch.arange(-4.0, 5.0, 2.0)
        super().__init__(centers=torch.cartesian_prod(axis, axis), std=0.05, scale=5.0, **options)
