"""Precision, recall, density and coverage: how well two sets of features cover each other, by nearest neighbors."""

import torch
from torch import Tensor

NEIGHBORS = 5
ROWS = 1000  # of a distance matrix in memory at a time


def compute_radii(features: Tensor, k: int = NEIGHBORS) -> Tensor:
    """Return the distance (N,) of each of the features (N, d) to its k-th nearest neighbor among them."""
    rows = (torch.cdist(rows, features) for rows in features.split(ROWS))
    return torch.cat([distances.topk(k + 1, largest=False).values[:, -1] for distances in rows])


def compute_manifold_scores(reals: Tensor, real_radii: Tensor, fakes: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """Return precision and recall (Kynkaanniemi et al. 2019, eq. 2), density and coverage (Naeem et al. 2020).

    Features are those of reals (M, d) and fakes (N, d); `real_radii` (M,) is `compute_radii` of the reals. The ball of
    an image reaches to its k-th nearest neighbor. Precision is the share of fakes inside the ball of any real, recall
    the share of reals inside the ball of any fake, and coverage the share of reals whose ball holds a fake, all in
    [0, 1]. Density is the mean number of balls of reals that a fake is in, divided by k: about 1 for fakes that are
    distributed like the reals, and possibly above.
    """
    fake_radii = compute_radii(fakes, k)
    inside = torch.zeros(len(fakes), dtype=torch.long)
    recalled, nearest = torch.zeros(len(reals), dtype=torch.bool), torch.full((len(reals),), torch.inf)
    for i, (rows, rows_radii) in enumerate(zip(fakes.split(ROWS), fake_radii.split(ROWS), strict=True)):
        distances = torch.cdist(rows, reals)  # (ROWS, M)
        inside[i * ROWS : i * ROWS + len(rows)] = (distances < real_radii).sum(1)
        recalled |= (distances < rows_radii[:, None]).any(0)
        nearest = torch.minimum(nearest.to(distances), distances.amin(0))
    return {
        "precision": (inside > 0).double().mean().item(),
        "recall": recalled.double().mean().item(),
        "density": inside.double().mean().item() / k,
        "coverage": (nearest < real_radii).double().mean().item(),
    }
