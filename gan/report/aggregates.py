"""Aggregates over runs: interquartile mean, probability of improvement, performance profile, best of k trials.

The first three are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice". The training seed is the unit.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from gan.report.intervals import Bounds, compute_improvement_interval, compute_share_interval

Pair = tuple[Sequence[float], Sequence[float]]


class Profile(NamedTuple):
    """The share (0 to 1) of runs whose ratio is at most each tau, and a 95% interval of each share."""

    taus: np.ndarray
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray


def compute_iqm(values: Sequence[float]) -> float:
    """Return the interquartile mean, the mean of the middle half: with five values that of three; NaN for no value."""
    return float(stats.trim_mean(values, 0.25)) if len(values) else math.nan


def compute_improvement(pairs: Sequence[Pair]) -> tuple[float, Bounds]:
    """Return the probability that a value of the first sample is below one of the second, and a 95% interval.

    A tie counts half. `pairs` has two samples per data set; the probability is the mean over data sets. Its interval
    joins theirs by Zou & Donner 2008, "Construction of confidence limits about effect measures". inf is above all.
    """
    found, below, above = [], [], []
    for first, second in pairs:
        a, b = np.asarray(first, dtype=float)[:, None], np.asarray(second, dtype=float)[None]
        found.append(float((a < b).mean() + (a == b).mean() / 2))
        low, high = compute_improvement_interval(found[-1], a.size, b.size)
        below.append(found[-1] - low)
        above.append(high - found[-1])
    mean, n = sum(found) / len(found), len(found)
    return mean, (mean - math.hypot(*below) / n, mean + math.hypot(*above) / n)


def compute_profile(ratios: Sequence[float], taus: Sequence[float]) -> Profile:
    """Return the share of runs whose ratio (score / floor, inf for a diverged run) is at most each tau."""
    counts = (np.asarray(ratios, dtype=float)[:, None] <= np.asarray(taus)[None]).sum(0)
    bounds = np.array([compute_share_interval(int(count), len(ratios)) for count in counts])
    return Profile(np.asarray(taus), counts / len(ratios), bounds[:, 0], bounds[:, 1])


def compute_best_of_k(values: Sequence[float]) -> np.ndarray:
    """Return the expected minimum of k of the n values drawn without replacement, for k = 1 to n.

    It is the mean over all subsets of size k, and so unbiased (a U-statistic): the i-th smallest value is the minimum
    of C(n - i, k - 1) of the C(n, k) subsets. The plug-in of Dodge et al. 2019, "Show Your Work", which draws with
    replacement, is too high: Tang et al. 2020, "Showing Your Work Doesn't Always Work". Where a subset can hold
    diverged values only (inf), the result is inf.
    """
    ordered, n = np.sort(np.asarray(values, dtype=float)), len(values)
    k = np.arange(1, n + 1)[:, None]
    i = np.arange(1, n)[None]
    factors = np.maximum(n - i - k + 1, 0) / (n - i)  # of a weight to the one before
    weights = np.cumprod(np.hstack([k / n, factors]), axis=1)
    terms = np.zeros_like(weights)
    np.multiply(weights, ordered[None], out=terms, where=weights > 0)  # 0 * inf is 0 here
    return terms.sum(1)
