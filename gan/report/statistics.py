"""Statistics of cells over their seeds: means, intervals, and tests of the differences."""

import itertools
import math

import numpy as np
import pandas as pd
from scipy import stats

from gan.errors import InputError
from gan.run.record import Run, group_by_cell

LEVEL = 0.95


def list_scores(runs: list[Run], score: str) -> list[float]:
    """Return the values of a score, of the runs that did not diverge."""
    return [run.scores[score] for run in runs if is_finished(run, score)]


def is_finished(run: Run, score: str) -> bool:
    """Whether a run has a finite value of a score and did not diverge."""
    return not run.scores.get("diverged") and math.isfinite(run.scores.get(score, math.nan))


def name_reals(runs: list[Run]) -> str:
    """Return the number of real images behind the floor of runs, in words: "1,000 real images"."""
    n = {run.n_floor for run in runs}
    return f"{n.pop():,} real images" if len(n) == 1 and None not in n else "real images"


def name_at_n_floor(runs: list[Run], score: str) -> str:
    """Return the column that compares with the floor: the score or, if it has fewer images, "fid of 1,000 samples"."""
    if not any(run.at_n_floor for run in runs):
        return score
    n = " or ".join(sorted({f"{run.n_floor:,}" for run in runs if run.at_n_floor}))
    return f"{'fid' if score.startswith('fid') else score} of {n} samples"


def compute_interval(sample: list[float], kind: str = "t") -> tuple[float, float]:
    """Return the (low, high) of a 95% interval of the mean, (NaN, NaN) for fewer than two values.

    `kind` is "t" (Student's t) or "bootstrap" (percentiles of 10,000 resamples).
    """
    if len(sample) < 2:
        return math.nan, math.nan
    if kind == "bootstrap":
        drawn = stats.bootstrap((sample,), np.mean, n_resamples=10_000, method="percentile", rng=0)
        return tuple(map(float, drawn.confidence_interval))
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * np.std(sample, ddof=1) / math.sqrt(len(sample))
    return float(np.mean(sample) - half), float(np.mean(sample) + half)


def build_table(runs: list[Run], score: str, kind: str = "t") -> pd.DataFrame:
    """Return one row per cell, best mean first, and a last row with the score of real images.

    The runs must be of one protocol; `kind` is that of `compute_interval`. If there are fewer real images than samples,
    the last row fills a column of its own, in which each cell has the score of as many samples.
    Raises InputError for a score that the runs do not have.
    """
    measured = sorted({name for run in runs for name in run.floor})
    if score not in measured:
        raise InputError(f"--score {score}: must be one of the scores of these runs: {', '.join(measured)}")
    rows, reals, comparable = [], name_reals(runs), name_at_n_floor(runs, score)
    for label, members in group_by_cell(runs).items():
        sample, low_high = list_scores(members, score), compute_interval(list_scores(members, score), kind)
        finished = [run for run in members if is_finished(run, score)]
        best = [run.best[score] for run in finished if score in run.best]
        alike = [run.at_n_floor[score] for run in finished if score in run.at_n_floor]
        rows.append(
            {
                "cell": label,
                "n": len(sample),
                score: np.mean(sample) if sample else math.nan,
                "std": np.std(sample, ddof=1) if len(sample) > 1 else math.nan,
                "95% low": low_high[0],
                "95% high": low_high[1],
                f"{score} of best": np.mean(best) if best else math.nan,
                **({comparable: np.mean(alike) if alike else math.nan} if comparable != score else {}),
                "diverged": sum(bool(run.scores.get("diverged")) for run in members),
                "images seen": np.mean([run.scores.get("images_seen", math.nan) for run in members]),
                "minutes": np.mean([run.scores.get("seconds", math.nan) for run in members]) / 60,
            }
        )
    rows.sort(key=lambda row: (math.isnan(row[score]), row[score] * (1 if smaller_is_better(score) else -1)))
    rows.append({"cell": reals, comparable: np.mean([run.floor[score] for run in runs if score in run.floor])})
    whole = dict.fromkeys(("n", "diverged", "images seen"), "Int64")
    return pd.DataFrame(rows).round({"images seen": 0}).astype(whole)


def compare_cells(runs: list[Run], score: str) -> pd.DataFrame:
    """Return Welch's t-test of every pair of cells that have two seeds or more, smallest p first.

    `p` is adjusted for the number of pairs (Holm 1979); `real` is "yes" if it is below 0.05. The 95% interval is of the
    pair's difference of means, unadjusted.
    """
    samples = {label: list_scores(members, score) for label, members in group_by_cell(runs).items()}
    samples = {label: sample for label, sample in samples.items() if len(sample) > 1}
    rows = []
    for (a, first), (b, second) in itertools.combinations(samples.items(), 2):
        with np.errstate(all="ignore"):
            test = stats.ttest_ind(first, second, equal_var=False)
        low, high = test.confidence_interval(LEVEL)
        p = 1.0 if math.isnan(test.pvalue) else float(test.pvalue)
        rows.append({"cell": a, "other": b, "difference": np.mean(first) - np.mean(second), "95% low": low})
        rows[-1] |= {"95% high": high, "n": f"{len(first)}, {len(second)}", "p": p}
    for row, p in zip(rows, adjust_p_values([row["p"] for row in rows]), strict=True):
        row |= {"p": p, "real": "yes" if p < 1 - LEVEL else "not shown at this n"}
    return pd.DataFrame(rows).sort_values("p", kind="stable") if rows else pd.DataFrame()


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


def smaller_is_better(score: str) -> bool:
    """Whether a lower value of a score is better: it is a distance."""
    return score.startswith(("fid", "kid", "class_distance", "copying"))
