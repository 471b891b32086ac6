"""Precision, recall, density, coverage and diversity: how two sets of features cover each other, by nearest neighbors.

Features are in float64. At most 500 x 500 distances are in memory at a time.
"""

from itertools import combinations_with_replacement

import torch
from torch import Tensor

from gan.metrics.distances import compute_squared_distances, split_range

NEIGHBORS = 5
SMALLEST = 1e-12  # median radius of the reals: it is 0 if most of them are copies
ROUNDING = 1e-12  # more than the error of a squared distance in float64, relative to the radius and the norm squared


def compute_radii(features: Tensor, k: int = NEIGHBORS) -> Tensor:
    """Return the distance (N,) of each of the features (N, d) to its k-th nearest neighbor among them."""
    nearest = features.new_full((len(features), k + 1), torch.inf)  # squared distances, that to itself included
    for rows, columns in combinations_with_replacement(split_range(len(features)), 2):  # the matrix is symmetric
        distances = compute_squared_distances(features[rows], features[columns])
        nearest[rows] = torch.cat([nearest[rows], distances], 1).topk(k + 1, largest=False).values
        if rows != columns:
            nearest[columns] = torch.cat([nearest[columns], distances.T], 1).topk(k + 1, largest=False).values
    return nearest[:, -1].clamp(min=0).sqrt()


def square_radii(radii: Tensor, centers: Tensor) -> Tensor:
    """Return the squared radii (N,) of balls around centers (N, d), less what rounding may change in a distance.

    An image at the radius itself, such as the k-th neighbor, is then outside, however its distance is rounded.
    """
    return radii.square() - ROUNDING * (radii.square() + centers.square().sum(1))


def compute_manifold_scores(reals: Tensor, real_radii: Tensor, fakes: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """Return precision, recall (Kynkaanniemi et al. 2019, eq. 2), density, coverage (Naeem et al. 2020) and diversity.

    Features are those of reals (M, d) and fakes (N, d); `real_radii` (M,) is `compute_radii` of the reals. The ball of
    an image reaches to its k-th nearest neighbor. Precision is the share of fakes inside the ball of any real, recall
    the share of reals inside the ball of any fake, and coverage the share of reals whose ball holds a fake, all in
    [0, 1]. Density is the mean number of balls of reals that a fake is in, divided by k: about 1 for fakes that are
    distributed like the reals, and possibly above. Diversity is the median radius of the fakes' balls divided by that
    of the reals' balls: about 1 for as many fakes of the same distribution, less for more fakes, 0 if most are copies.
    """
    fake_radii = compute_radii(fakes, k)
    real_balls, fake_balls = square_radii(real_radii, reals), square_radii(fake_radii, fakes)
    precise = torch.zeros(len(fakes), dtype=torch.bool)
    recalled, covered = torch.zeros(2, len(reals), dtype=torch.bool)
    inside = 0
    for rows in split_range(len(fakes)):
        for columns in split_range(len(reals)):
            distances = compute_squared_distances(fakes[rows], reals[columns])
            recalled[columns] |= (distances - fake_balls[rows, None]).amin(0) < 0
            distances -= real_balls[columns]  # now negative inside a real's ball
            precise[rows] |= distances.amin(1) < 0
            covered[columns] |= distances.amin(0) < 0
            inside += int((distances < 0).count_nonzero())
    return {
        "precision": precise.double().mean().item(),
        "recall": recalled.double().mean().item(),
        "density": inside / (k * len(fakes)),
        "coverage": covered.double().mean().item(),
        "diversity": (fake_radii.median() / real_radii.median().clamp(min=SMALLEST)).item(),
    }
