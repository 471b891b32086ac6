"""Kernel Inception Distance: the squared maximum mean discrepancy of two sets of features, averaged over subsets."""

import torch
from torch import Tensor

from gan.metrics.distances import split_range

SUBSETS, SUBSET_SIZE = 100, 1000  # Binkowski et al. 2018, section 4
PART, ROWS = 4, 250  # subsets and rows of their kernels at a time: 8 MB of kernel, and the features of 8,000 images


def compute_kid(fakes: Tensor, reals: Tensor) -> float:
    """Return the kernel distance of features of fakes (N, d) to those of reals (M, d), both float64.

    It is the mean unbiased estimate (Binkowski et al. 2018, eq. 4) over 100 pairs of subsets of 1,000 images, or as
    many as the smaller set has. The subsets are those of torchmetrics' KernelInceptionDistance for seed 0.
    """
    size = min(SUBSET_SIZE, len(reals), len(fakes))
    n_subsets = 1 if size == len(reals) == len(fakes) else SUBSETS
    of_reals, of_fakes = draw_subsets((len(reals), len(fakes)), size, n_subsets)
    within = average_within(reals, of_reals) + average_within(fakes, of_fakes)
    return within - 2 * average_across(reals, of_reals, fakes, of_fakes)


def draw_subsets(numbers: tuple[int, ...], size: int, n_subsets: int) -> tuple[Tensor, ...]:
    """Return the indices (n_subsets, size) of random subsets of sets of so many images, drawn from the sets in turn."""
    random = torch.Generator().manual_seed(0)
    drawn = [[torch.randperm(n, generator=random)[:size] for n in numbers] for _ in range(n_subsets)]
    return tuple(torch.stack(subsets) for subsets in zip(*drawn, strict=True))


def average_within(features: Tensor, subsets: Tensor) -> float:
    """Return the mean kernel of two different images of a subset, over all pairs and subsets (n_subsets, size)."""
    size = subsets.shape[1]
    if size == len(features):
        subsets = subsets[:1]  # each is the whole set
    total = 0.0
    for chosen in subsets.split(PART):
        x = features[chosen]  # (PART, size, d)
        for rows in split_range(size, ROWS):  # the kernel is symmetric: what is above its diagonal is enough
            total += evaluate_kernel(x[:, rows], x[:, rows.start :]).triu_(1).sum().item()
    return total / (len(subsets) * size * (size - 1) / 2)


def average_across(x: Tensor, x_subsets: Tensor, y: Tensor, y_subsets: Tensor) -> float:
    """Return the mean kernel of an image of a subset of x and one of the same subset of y, over all of them."""
    total = 0.0
    for x_chosen, y_chosen in zip(x_subsets.split(PART), y_subsets.split(PART), strict=True):
        others = y[y_chosen]
        for rows in x[x_chosen].split(ROWS, dim=1):
            total += evaluate_kernel(rows, others).sum().item()
    return total / (x_subsets.numel() * y_subsets.shape[1])


def evaluate_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x.y / d + 1)^3 (n, N, M) of n pairs of sets of features x (n, N, d) and y (n, M, d)."""
    return torch.baddbmm(x.new_ones(1), x, y.mT, alpha=1 / x.shape[2]).pow_(3)
