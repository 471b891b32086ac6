"""Cells side by side: which is better, by how much, and whether that is more than the luck of the seed."""

import itertools
import math

import numpy as np
import pandas as pd
from scipy import stats

from gan.errors import InputError
from gan.run.record import Run, group_by_cell

LEVEL = 0.95


def values(runs: list[Run], score: str) -> list[float]:
    """Return a score of the runs that did not diverge."""
    return [run.scores[score] for run in runs if is_finished(run, score)]


def is_finished(run: Run, score: str) -> bool:
    """Whether a run has a score and did not diverge."""
    return not run.scores.get("diverged") and math.isfinite(run.scores.get(score, math.nan))


def name_reals(runs: list[Run]) -> str:
    """Return what the floor of runs is of: "1,000 real images"."""
    n = {run.n_floor for run in runs}
    return f"{n.pop():,} real images" if len(n) == 1 and None not in n else "real images"


def name_at_n_floor(runs: list[Run], score: str) -> str:
    """Return the name of a score of as many samples as the floor has images, which is the score itself for all."""
    if not any(run.at_n_floor for run in runs):
        return score
    n = " or ".join(sorted({f"{run.n_floor:,}" for run in runs if run.at_n_floor}))
    return f"{'fid' if score.startswith('fid') else score} of {n} samples"


def interval(sample: list[float], kind: str = "t") -> tuple[float, float]:
    """Return a 95% interval of the mean, by Student's t or by 10,000 bootstrap resamples; nan for fewer than two."""
    if len(sample) < 2:
        return math.nan, math.nan
    if kind == "bootstrap":
        drawn = stats.bootstrap((sample,), np.mean, n_resamples=10_000, method="percentile", rng=0)
        return tuple(map(float, drawn.confidence_interval))
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * np.std(sample, ddof=1) / math.sqrt(len(sample))
    return float(np.mean(sample) - half), float(np.mean(sample) + half)


def table(runs: list[Run], score: str, kind: str = "t") -> pd.DataFrame:
    """Return a row for each cell of runs of one protocol, best mean first, and one for what real images score.

    Where these are fewer than the samples, they stand in a column of their own, beside as many samples of each cell.
    """
    measured = sorted({name for run in runs for name in run.floor})
    if score not in measured:
        raise InputError(f"--score {score}: these runs have {', '.join(measured)}")
    rows, real, beside = [], name_reals(runs), name_at_n_floor(runs, score)
    for label, members in group_by_cell(runs).items():
        sample, low_high = values(members, score), interval(values(members, score), kind)
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
                **({beside: np.mean(alike) if alike else math.nan} if beside != score else {}),
                "diverged": sum(bool(run.scores.get("diverged")) for run in members),
                "images seen": np.mean([run.scores.get("images_seen", math.nan) for run in members]),
                "minutes": np.mean([run.scores.get("seconds", math.nan) for run in members]) / 60,
            }
        )
    rows.sort(key=lambda row: (math.isnan(row[score]), row[score] * (1 if smaller_is_better(score) else -1)))
    rows.append({"cell": real, beside: np.mean([run.floor[score] for run in runs if score in run.floor])})
    whole = dict.fromkeys(("n", "diverged", "images seen"), "Int64")
    return pd.DataFrame(rows).round({"images seen": 0}).astype(whole)


def differences(runs: list[Run], score: str) -> pd.DataFrame:
    """Return Welch's test between all pairs of cells with two seeds or more, p adjusted for their number by Holm 1979.

    `real` says whether the difference would be seen by luck in fewer than 5% of such comparisons.
    """
    samples = {label: values(members, score) for label, members in group_by_cell(runs).items()}
    samples = {label: sample for label, sample in samples.items() if len(sample) > 1}
    rows = []
    for (a, first), (b, second) in itertools.combinations(samples.items(), 2):
        with np.errstate(all="ignore"):
            test = stats.ttest_ind(first, second, equal_var=False)
        low, high = test.confidence_interval(LEVEL)
        p = 1.0 if math.isnan(test.pvalue) else float(test.pvalue)
        rows.append({"cell": a, "other": b, "difference": np.mean(first) - np.mean(second), "95% low": low})
        rows[-1] |= {"95% high": high, "n": f"{len(first)}, {len(second)}", "p": p}
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row |= {"p": p, "real": "yes" if p < 1 - LEVEL else "not shown at this n"}
    return pd.DataFrame(rows).sort_values("p", kind="stable") if rows else pd.DataFrame()


def holm(p_values: list[float]) -> list[float]:
    """Return p values adjusted for their number (Holm 1979): the k-th smallest of m times m - k + 1, rising."""
    order, adjusted, largest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted


def smaller_is_better(score: str) -> bool:
    """Whether a score is a distance."""
    return score.startswith(("fid", "kid", "class_distance", "copying"))
