"""95% intervals for few values: of a mean, an interquartile mean, a share, and a probability of improvement."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST_FOR_MEAN = 4  # values: the bootstrap-t of three covers their mean in 80% of samples only
FEWEST_FOR_IQM = 5  # values: the range of four covers their interquartile mean in 87% of samples only

Bounds = tuple[float, float]
UNKNOWN: Bounds = (math.nan, math.nan)


def compute_interval(sample: Sequence[float], kind: str = "t") -> Bounds:
    """Return the (low, high) of an interval of the mean, (NaN, NaN) for too few values.

    `kind` is "t" (Student's t, two values or more) or "bootstrap" (bootstrap-t, four values or more). The bootstrap-t
    takes the quantiles of t from resamples, so that it suits skewed values: Efron & Tibshirani 1993, "An Introduction
    to the Bootstrap", section 12.5.
    """
    values, n = np.asarray(sample, dtype=float), len(sample)
    if n < (FEWEST_FOR_MEAN if kind == "bootstrap" else 2):
        return UNKNOWN
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(n)
    if kind == "bootstrap" and error > 0:
        drawn = values[np.random.default_rng(0).integers(n, size=(RESAMPLES, n))]
        drawn = drawn[(drawn != drawn[:, :1]).any(1)]  # a resample of equal values has no t
        t = (drawn.mean(1) - mean) / (drawn.std(1, ddof=1) / math.sqrt(n))
        low, high = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    else:
        high = stats.t.ppf((1 + LEVEL) / 2, n - 1)
        low = -high
    return float(mean - high * error), float(mean - low * error)


def compute_iqm_interval(strata: Sequence[Sequence[float]]) -> Bounds:
    """Return an interval of the interquartile mean of pooled values, (NaN, NaN) for fewer than five.

    Resamples are drawn within each stratum (the seeds on one data set). Percentiles of so few values are too close
    together, by the missing factor n / (n - 1) of the variance and by the normal for Student's t: they are taken
    further out, by Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 4.1. With five values
    the interval is their range.
    """
    parts = [np.asarray(stratum, dtype=float) for stratum in strata]
    n, degrees = sum(map(len, parts)), sum(len(part) - 1 for part in parts)
    if n < FEWEST_FOR_IQM or not degrees:
        return UNKNOWN
    random = np.random.default_rng(0)
    drawn = np.concatenate([part[random.integers(len(part), size=(RESAMPLES, len(part)))] for part in parts], axis=1)
    tail = stats.norm.cdf(-math.sqrt(n / degrees) * stats.t.ppf((1 + LEVEL) / 2, degrees))
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [tail, 1 - tail])
    return float(low), float(high)


def compute_share_interval(count: int, n: int) -> Bounds:
    """Return an interval of a share of which `count` of `n` were seen: Wilson 1927."""
    interval = stats.binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def compute_improvement_interval(probability: float, n_first: int, n_second: int) -> Bounds:
    """Return an interval of a Mann-Whitney probability (0 to 1) of two samples of these sizes.

    Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2",
    method 5. Unlike a bootstrap it has a width where all values of one sample are below those of the other.
    """
    z, middle = stats.norm.ppf((1 + LEVEL) / 2), (n_first + n_second) / 2

    def exceed(value: float) -> float:
        """Return by how much the seen probability is further from `value` than z standard errors at `value`."""
        spread = 1 + (middle - 1) * ((1 - value) / (2 - value) + value / (1 + value))
        return abs(value - probability) - z * math.sqrt(value * (1 - value) * spread / (n_first * n_second))

    edge = 1e-12  # at 0 and 1 the standard error is 0
    low = optimize.brentq(exceed, 0, min(probability, 1 - edge), xtol=edge) if probability > 0 else 0.0
    high = optimize.brentq(exceed, max(probability, edge), 1, xtol=edge) if probability < 1 else 1.0
    return low, high
