"""How often the 95% intervals of compare.py hold the true value, and how often equal cells are called different."""

import itertools
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.table import Table
from scipy import stats

from gan.report.aggregates import compute_improvement
from gan.report.differences import adjust_p_values
from gan.report.intervals import Bounds, compute_interval, compute_iqm_interval
from gan.system.console import plain_console

PER_TURN = 400  # repetitions
SEEDS = 5  # values per cell
CELLS = 6  # equal ones, of a placebo grid
SIGMA = 0.5  # of the logarithm of the log-normal law
SHIFTS = (0.0, 1.0, 2.0)  # between two samples, in standard deviations of the law


class Law(NamedTuple):
    """A distribution of scores over seeds, with its mean, interquartile mean and standard deviation."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    mean: float
    iqm: float
    deviation: float


def trim_lognormal() -> float:
    """Return the interquartile mean of the log-normal law."""
    z = stats.norm.ppf(0.75)
    return 2 * math.exp(SIGMA**2 / 2) * float(stats.norm.cdf(z - SIGMA) - stats.norm.cdf(-z - SIGMA))


LAWS = {
    "normal": Law(lambda random, shape: random.normal(size=shape), 0, 0, 1),
    "log-normal": Law(
        lambda random, shape: np.exp(SIGMA * random.normal(size=shape)),
        math.exp(SIGMA**2 / 2),
        trim_lognormal(),
        math.sqrt((math.exp(SIGMA**2) - 1) * math.exp(SIGMA**2)),
    ),
    "exponential": Law(
        lambda random, shape: random.exponential(size=shape),
        1,
        1 - 1.5 * math.log(0.75) + 0.5 * math.log(0.25),
        1,
    ),
}
INTERVALS: dict[str, tuple[str, Callable[[np.ndarray], Bounds]]] = {  # by name: what each is of, and its function
    "mean, Student’s t": ("mean", compute_interval),  # noqa: RUF001
    "mean, bootstrap-t": ("mean", lambda sample: compute_interval(sample, "bootstrap")),
    "mean, percentile bootstrap": ("mean", lambda sample: take_percentiles(sample, np.mean)),
    "IQM, expanded percentiles": ("iqm", lambda sample: compute_iqm_interval([sample])),
    "IQM, percentile bootstrap": (
        "iqm",
        lambda sample: take_percentiles(sample, lambda x, axis: stats.trim_mean(x, 0.25, axis)),
    ),
}


def measure(overrides: list[str], turns: int) -> None:
    """Print the shares of intervals that hold the true value, and of placebo grids with a difference."""
    if overrides:
        sys.exit(f"error: coverage trains nothing, and takes no {' '.join(overrides)}")
    repetitions = PER_TURN * turns
    title = f"95% intervals that hold the true value, n = {SEEDS}, {repetitions:,} repetitions"
    table = Table("interval", *LAWS, title=title)
    for name in INTERVALS:
        table.add_row(name, *(f"{count_coverage(name, law, repetitions):.1%}" for law in LAWS))
    for shift in SHIFTS:
        shares = [count_improvement_coverage(law, shift, repetitions) for law in LAWS]
        table.add_row(f"P(better), {shift:g} standard deviations better", *(f"{share:.1%}" for share in shares))
    plain_console().print(table)
    shares = (f"{law} {count_false_differences(law, repetitions):.1%}" for law in LAWS)
    print(f"of {CELLS} equal cells, {SEEDS} seeds each, some pair is called different in: {', '.join(shares)} of grids")


def take_percentiles(sample: np.ndarray, statistic: Callable[..., np.ndarray]) -> Bounds:
    """Return the plain percentile bootstrap, for comparison."""
    drawn = sample[np.random.default_rng(0).integers(len(sample), size=(2000, len(sample)))]
    low, high = np.quantile(statistic(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def count_coverage(name: str, law: str, repetitions: int) -> float:
    """Return the share of samples whose interval holds the true value."""
    of, compute = INTERVALS[name]
    true = getattr(LAWS[law], of)
    samples = LAWS[law].draw(np.random.default_rng(1), (repetitions, SEEDS))
    bounds = np.array([compute(sample) for sample in samples])
    return float(((bounds[:, 0] <= true) & (true <= bounds[:, 1])).mean())


def count_improvement_coverage(law: str, shift: float, repetitions: int) -> float:
    """Return the share of pairs of samples whose interval holds the true probability of improvement."""
    random, drawn = np.random.default_rng(2), LAWS[law]
    moved = shift * drawn.deviation
    first, second = (drawn.draw(random, (10**6,)) for _ in range(2))
    true = float((first < second + moved).mean())
    pairs = drawn.draw(random, (repetitions, 2, SEEDS))
    bounds = [compute_improvement([(a, b + moved)])[1] for a, b in pairs]
    return sum(low <= true <= high for low, high in bounds) / repetitions


def count_false_differences(law: str, repetitions: int) -> float:
    """Return the share of grids of equal cells in which Welch's test with Holm's adjustment finds a difference."""
    grids = LAWS[law].draw(np.random.default_rng(3), (repetitions, CELLS, SEEDS))
    first, second = np.array(list(itertools.combinations(range(CELLS), 2))).T
    p_values = stats.ttest_ind(grids[:, first], grids[:, second], axis=2, equal_var=False).pvalue
    return sum(min(adjust_p_values(list(row))) < 0.05 for row in p_values) / repetitions
