"""Does a generator copy its training images? Its samples' nearest training images, beside held-out images' nearest."""

import torch
from torch import Tensor

ROWS = 1000  # of a distance matrix held at a time


def find_nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Return each query's (N, d) distance (N,) to the nearest of the bank (M, d), and which one (N,) that is."""
    bank = bank.double()
    found = [torch.cdist(rows.double(), bank).min(1) for rows in queries.split(ROWS)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def estimate_copying(fakes: Tensor, held_out: Tensor) -> float:
    """Return the chance that a fake lies nearer to the training set than a held-out image does.

    Of distances (N,) and (M,) to their nearest training images, ties counted half: the U statistic of Meehan et al.
    2020, section 3.1. One half for samples like new images, towards 1 for copies, below one half for samples that
    are farther away than new images are.
    """
    order = held_out.sort().values
    not_below, below = (torch.searchsorted(order, fakes, right=right) for right in (True, False))
    return 1 - ((not_below + below) / 2).double().mean().item() / len(order)
