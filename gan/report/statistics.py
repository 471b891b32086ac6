"""Statistics of cells over their seeds: means, spreads and intervals of a score, and its ratio to the floor."""

import math

import numpy as np
import pandas as pd

from gan.errors import InputError
from gan.report.aggregates import compute_iqm
from gan.report.intervals import compute_interval, compute_iqm_interval
from gan.run.record import Run, group_by_cell


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


def build_table(runs: list[Run], score: str, kind: str = "t", *, with_iqm: bool = False) -> pd.DataFrame:
    """Return one row per cell, best mean first, and a last row with the score of real images.

    The runs must be of one protocol; `kind` is that of `compute_interval`. `with_iqm` adds the interquartile mean and
    its interval. If there are fewer real images than samples, the last row fills a column of its own, in which each
    cell has the score of as many samples.
    Raises InputError for a score that the runs do not have.
    """
    score = choose_score(runs, score)
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
                **(describe_iqm(sample) if with_iqm else {}),
                f"{score} of best": np.mean(best) if best else math.nan,
                **({comparable: np.mean(alike) if alike else math.nan} if comparable != score else {}),
                "diverged": sum(bool(run.scores.get("diverged")) for run in members),
                "images seen": np.mean([run.scores.get("images_seen", math.nan) for run in members]),
                "minutes": np.mean([run.scores.get("seconds", math.nan) for run in members]) / 60,
            }
        )
    rows.sort(key=lambda row: rank_mean(row[score], score))
    rows.append({"cell": reals, comparable: np.mean([run.floor[score] for run in runs if score in run.floor])})
    whole = dict.fromkeys(("n", "diverged", "images seen"), "Int64")
    return pd.DataFrame(rows).round({"images seen": 0}).astype(whole)


def rank_mean(mean: float, score: str) -> tuple[bool, float]:
    """Return the key that sorts cells by their mean, the best first and those without one last."""
    return math.isnan(mean), mean * sign_score(score)


def describe_iqm(sample: list[float]) -> dict[str, float]:
    """Return the columns of a cell's interquartile mean and its interval."""
    low, high = compute_iqm_interval([sample])
    return {"IQM": compute_iqm(sample), "IQM low": low, "IQM high": high}


def compare_to_floor(run: Run, score: str) -> float:
    """Return a run's score as a multiple of that of as many real images: inf if it diverged, NaN without a floor."""
    floor, measured = run.floor.get(score, math.nan), (run.at_n_floor or run.scores).get(score, math.nan)
    if run.scores.get("diverged"):
        return math.inf
    return measured / floor if floor > 0 else math.nan


def sign_score(score: str) -> int:
    """Return 1 if a lower value of a score is better, -1 otherwise."""
    return 1 if smaller_is_better(score) else -1


def smaller_is_better(score: str) -> bool:
    """Whether a lower value of a score is better: it is a distance."""
    distances = ("fid", "intra_fid", "kid", "mode_kl", "reverse_kl", "class_distance", "copying")
    return score.startswith(distances)


def choose_score(runs: list[Run], score: str | None = None) -> str:
    """Return the score to compare runs by: the one asked for, otherwise their FID, mode_kl or reverse_kl.

    Raises InputError for a score that the runs do not have.
    """
    measured = sorted({name for run in runs for name in run.floor})
    if score and score not in measured:
        raise InputError(f"--score {score}: must be one of the scores of these runs: {', '.join(measured)}")
    return score or next(name for name in measured if name.startswith(("fid", "mode_kl", "reverse_kl")))
