"""Differences between cells over their seeds: Welch's t-test with Holm's adjustment, and probability of improvement."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from gan.report.aggregates import compute_improvement
from gan.report.intervals import LEVEL
from gan.report.statistics import is_finished, list_scores, sign_score
from gan.run.record import Run, group_by_cell


def compare_cells(runs: list[Run], score: str) -> pd.DataFrame:
    """Return the comparison of every pair of cells that have two seeds or more, smallest p first.

    The columns are those of `compare_members` and `add_verdicts`.
    """
    members = {label: runs for label, runs in group_by_cell(runs).items() if len(list_scores(runs, score)) > 1}
    pairs = itertools.combinations(members, 2)
    rows = [{"cell": a, "other": b} | compare_members(members[a], members[b], score) for a, b in pairs]
    return pd.DataFrame(add_verdicts(rows)).sort_values("p", kind="stable") if rows else pd.DataFrame()


def compare_members(first: list[Run], second: list[Run], score: str) -> dict[str, Any]:
    """Return Welch's t-test of the runs of two cells, and the probability that the first cell is better.

    The 95% interval is of the difference of means, and both are without the diverged runs. `P(better)` is the
    probability that a run of the first cell scores better than one of the second, where a diverged run is the worst.
    """
    samples = list_scores(first, score), list_scores(second, score)
    with np.errstate(all="ignore"):
        test = stats.ttest_ind(*samples, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    better, bounds = compute_improvement([(list_losses(first, score), list_losses(second, score))])
    return {
        "difference": np.mean(samples[0]) - np.mean(samples[1]),
        "95% low": low,
        "95% high": high,
        "n": ", ".join(str(len(sample)) for sample in samples),
        "p": 1.0 if math.isnan(test.pvalue) else float(test.pvalue),
        "P(better)": better,
        "P low": bounds[0],
        "P high": bounds[1],
    }


def add_verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with `p` adjusted for their number (Holm 1979), and `real`: "yes" if it is below 0.05."""
    adjusted = adjust_p_values([row["p"] for row in rows])
    words = ["yes" if p < 1 - LEVEL else "not shown at this n" for p in adjusted]
    return [row | {"p": p, "real": real} for row, p, real in zip(rows, adjusted, words, strict=True)]


def list_losses(runs: list[Run], score: str) -> list[float]:
    """Return a score of runs with the lowest as the best, inf for a diverged run; runs without it are left out."""
    return [
        sign_score(score) * run.scores[score] if is_finished(run, score) else math.inf
        for run in runs
        if is_finished(run, score) or run.scores.get("diverged")
    ]


def adjust_p_values(p_values: list[float]) -> list[float]:
    """Return p values adjusted for their number m by Holm's step-down method, in the order given.

    The k-th smallest is multiplied by m - k + 1, never falls below the one before, and is at most 1.
    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order, adjusted, largest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
