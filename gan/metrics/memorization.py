"""Memorization: are samples closer to the training images than held-out images are?"""

import torch
from torch import Tensor

from gan.metrics.distances import compute_squared_distances

ROWS = 500  # of the matrix of distances in memory at a time: 240 MB for 60,000 training images


def find_nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances (N,) of queries (N, d) to the nearest row of the bank (M, d), and its indices (N,)."""
    queries, bank = queries.double(), bank.double()
    indices = torch.cat([compute_squared_distances(rows, bank).argmin(1) for rows in queries.split(ROWS)])
    return (queries - bank[indices]).norm(dim=1), indices  # the distance of a copy is exactly 0


def estimate_copying(fakes: Tensor, held_out: Tensor) -> float:
    """Return the probability that a fake is closer to the training set than a held-out image is, in [0, 1].

    `fakes` (N,) and `held_out` (M,) are distances to the nearest training image; ties count half. 0.5 is the value of
    new images, 1 means copies, and below 0.5 samples are farther away than new images. It is the U statistic of Meehan
    et al. 2020, section 3.1.
    """
    order = held_out.sort().values
    not_below, below = (torch.searchsorted(order, fakes, right=right) for right in (True, False))
    return 1 - ((not_below + below) / 2).double().mean().item() / len(order)
