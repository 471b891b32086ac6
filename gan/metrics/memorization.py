"""Memorization: are samples closer to the training images than held-out images are?"""

import torch
from torch import Tensor

ROWS = 1000  # of a distance matrix in memory at a time


def find_nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances (N,) of queries (N, d) to the nearest row of the bank (M, d), and its indices (N,)."""
    bank = bank.double()
    minima = [torch.cdist(rows.double(), bank).min(1) for rows in queries.split(ROWS)]
    return torch.cat([m.values for m in minima]), torch.cat([m.indices for m in minima])


def estimate_copying(fakes: Tensor, held_out: Tensor) -> float:
    """Return the probability that a fake is closer to the training set than a held-out image is, in [0, 1].

    `fakes` (N,) and `held_out` (M,) are distances to the nearest training image; ties count half. 0.5 is the value of
    new images, 1 means copies, and below 0.5 samples are farther away than new images. It is the U statistic of Meehan
    et al. 2020, section 3.1.
    """
    order = held_out.sort().values
    not_below, below = (torch.searchsorted(order, fakes, right=right) for right in (True, False))
    return 1 - ((not_below + below) / 2).double().mean().item() / len(order)
