"""Little data: a part of a training split, the same in all runs."""

import torch
from torch import Tensor

SEED = 0  # of its own: runs that differ in their seed train on the same images


def choose_fraction(labels: Tensor, fraction: float) -> Tensor:
    """Return the sorted indices of a random fraction, in (0, 1], of the images of each class, at least one of each.

    `labels` (N,) are the classes of all images. A smaller fraction chooses some of the images of a larger one.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    chosen = []
    for label in labels.unique():
        members = order[labels[order] == label]
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return torch.cat(chosen).sort().values
