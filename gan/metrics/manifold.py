"""How well two sets of features cover each other, judged by nearest neighbours."""

import torch
from torch import Tensor

NEIGHBORS = 5
ROWS = 1000  # of a distance matrix held at a time


def compute_radii(features: Tensor, k: int = NEIGHBORS) -> Tensor:
    """Return the distance (N,) of each feature (N, d) to its k-th nearest other one."""
    rows = (torch.cdist(rows, features) for rows in features.split(ROWS))
    return torch.cat([distances.topk(k + 1, largest=False).values[:, -1] for distances in rows])


def compute_manifold_scores(reals: Tensor, real_radii: Tensor, fakes: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """Return precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Features are (M, d) and (N, d), `real_radii` those of the reals. Precision is the share of fakes inside the ball of
    any real, recall the share of reals inside the ball of any fake, coverage the share of reals whose ball holds a
    fake, all in [0, 1]; density is the mean number of balls around a fake over k, 1 for the reals' own distribution.
    """
    fake_radii = compute_radii(fakes, k)
    inside = torch.zeros(len(fakes), dtype=torch.long)
    recalled, nearest = torch.zeros(len(reals), dtype=torch.bool), torch.full((len(reals),), torch.inf)
    for i, (rows, its_radii) in enumerate(zip(fakes.split(ROWS), fake_radii.split(ROWS), strict=True)):
        distances = torch.cdist(rows, reals)  # (ROWS, M)
        inside[i * ROWS : i * ROWS + len(rows)] = (distances < real_radii).sum(1)
        recalled |= (distances < its_radii[:, None]).any(0)
        nearest = torch.minimum(nearest.to(distances), distances.amin(0))
    return {
        "precision": (inside > 0).double().mean().item(),
        "recall": recalled.double().mean().item(),
        "density": inside.double().mean().item() / k,
        "coverage": (nearest < real_radii).double().mean().item(),
    }
