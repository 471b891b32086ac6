"""Distances between the features of two sets of images, all pairs by matrix products of bounded size."""

from torch import Tensor, addmm

TILE = 500  # rows and columns of a matrix of distances at a time: 2 MB of float64, which fit the cache of a core


def compute_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return |x|^2 - 2 x.y + |y|^2 (N, M) of features x (N, d) and y (M, d); rounding may make a zero negative."""
    return addmm(y.square().sum(1), x, y.T, alpha=-2).add_(x.square().sum(1, keepdim=True))


def split_range(n: int, size: int = TILE) -> list[slice]:
    """Return the slices of up to `size` that n rows have."""
    return [slice(start, start + size) for start in range(0, n, size)]
