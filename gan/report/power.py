"""How many seeds per cell show a difference: the power of Welch's t-test from the spread seen so far."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from gan.report.statistics import list_scores, rank_mean
from gan.run.display import score_label
from gan.run.record import Run, group_by_cell

SIGNIFICANCE, POWER = 0.05, 0.8
MOST_SEEDS = 1000
CAUTIOUS = 0.8  # level of the one-sided upper limit of the spread


def compute_power(n: int, difference: float, deviations: tuple[float, float]) -> float:
    """Return the power (0 to 1) of a two-sided Welch's t-test at 5% with n values per sample.

    By the noncentral t distribution with Welch's degrees of freedom; exact for equal deviations.
    """
    first, second = (deviation**2 / n for deviation in deviations)
    degrees = (first + second) ** 2 * (n - 1) / (first**2 + second**2)
    shift, limit = abs(difference) / math.sqrt(first + second), stats.t.ppf(1 - SIGNIFICANCE / 2, degrees)
    return float(stats.nct.sf(limit, degrees, shift) + stats.nct.cdf(-limit, degrees, shift))


def find_sample_size(difference: float, deviations: tuple[float, float]) -> int | None:
    """Return the fewest values per sample, two or more, with 80% power; None for more than 1,000."""
    if not any(deviations):
        return 2 if difference else None
    enough = (n for n in range(2, MOST_SEEDS + 1) if compute_power(n, difference, deviations) >= POWER)
    return next(enough, None)


def describe_plan(runs: list[Run], score: str) -> str:
    """Return one line: how many seeds per cell separate the two cells with the best means, or what is missing."""
    samples = {label: list_scores(members, score) for label, members in group_by_cell(runs).items()}
    finished = [label for label in samples if samples[label]]
    ordered = sorted(finished, key=lambda label: rank_mean(float(np.mean(samples[label])), score))
    if len(ordered) < 2:
        return f"plan: needs two cells with a finite {score_label(score)}; these runs have {len(ordered)}"
    best, other = ordered[:2]
    for label in (best, other):
        if len(samples[label]) < 2:
            return f"plan: {label} has one seed, so its spread is unknown; train it with one more seed or more"
    first, second = np.asarray(samples[best]), np.asarray(samples[other])
    difference, deviations = abs(second.mean() - first.mean()), (first.std(ddof=1), second.std(ddof=1))
    factors = (limit_spread(len(samples[label])) for label in (best, other))
    cautious = tuple(deviation * factor for deviation, factor in zip(deviations, factors, strict=True))
    spreads = " and ".join(f"{deviation:.3g}" for deviation in deviations)
    return (
        f"plan: {best} and {other} differ by {difference:.3g} {score_label(score)}, with standard deviations of "
        f"{spreads} over {len(first)} and {len(second)} seeds. Seeds per cell for {POWER:.0%} power by Welch’s t-test "  # noqa: RUF001
        f"at {SIGNIFICANCE:.0%}: {count_seeds(difference, deviations)}; {count_seeds(difference, cautious)} with "
        f"spreads at their upper {CAUTIOUS:.0%} limits."
    )


def limit_spread(n: int) -> float:
    """Return the one-sided upper 80% limit of a standard deviation of n values, relative to it.

    Browne 1995, "On the use of a pilot sample for sample size determination".
    """
    return math.sqrt((n - 1) / stats.chi2.ppf(1 - CAUTIOUS, n - 1))


def count_seeds(difference: float, deviations: Sequence[float]) -> str:
    """Return the fewest seeds per cell as text."""
    found = find_sample_size(difference, tuple(deviations))
    return f"more than {MOST_SEEDS:,}" if found is None else str(found)
