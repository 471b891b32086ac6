"""One table of cells by data sets: mean and standard deviation of a score, the best of each data set marked."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gan.errors import InputError
from gan.report.aggregates import compute_improvement, compute_iqm
from gan.report.intervals import compute_iqm_interval
from gan.report.statistics import choose_score, compare_to_floor, list_scores, rank_mean, sign_score
from gan.run.record import Run, group_by_cell

OF_DATA = ("data", "data_sha256", "metrics", "objective")  # keys of a config that follow from the data set
KEPT = ("batch_size", "fraction")  # keys of data that are settings of training


@dataclass(frozen=True)
class DataSetTable:
    """Samples of a score by cell and data set; `scores` and `protocols` have one entry per data set.

    `across` has the interquartile mean over all data sets of score / floor, and its 95% interval, for each cell that
    has runs on all of them; it is empty for one data set, and for scores without a floor above 0.
    """

    scores: dict[str, str]
    protocols: dict[str, str]
    samples: dict[str, dict[str, list[float]]]
    across: dict[str, tuple[float, float, float]]

    def find_best(self, data: str) -> str:
        """Return the cell with the best mean on a data set."""
        means = {cell: np.mean(found[data]) for cell, found in self.samples.items() if found.get(data)}
        return min(means, key=lambda cell: rank_mean(float(means[cell]), self.scores[data]), default="")


def build_data_set_table(parts: dict[str, list[Run]], score: str | None) -> DataSetTable:
    """Return the table of runs by protocol; `score` is that of all data sets, None for the FID of each.

    Raises InputError for two protocols of one data set, whose scores can't share a column.
    """
    scores, protocols, runs = {}, {}, []
    for protocol, members in parts.items():
        for data in {str(run.config["choices"].get("data", "")) for run in members}:
            if data in protocols:
                raise InputError(
                    f"--by-data-set: {data} has several protocols, which never share a column; select one by a part of "
                    f"its text, --protocol TEXT: {protocols[data]} | {protocol}"
                )
            scores[data], protocols[data] = choose_score(members, score), protocol
        runs += [drop_data_set(run) for run in members]
    cells = {label: split_by_data_set(members) for label, members in group_by_cell(runs).items()}
    samples = {
        label: {data: list_scores(members, scores[data]) for data, members in found.items()}
        for label, found in cells.items()
    }
    across = {label: summarize_ratios(found, scores) for label, found in cells.items()}
    table = DataSetTable(scores, protocols, samples, {label: row for label, row in across.items() if row})
    first = next(iter(scores))
    means = {label: float(np.mean(found[first])) if found.get(first) else math.nan for label, found in samples.items()}
    unknown = (math.inf, 0, 0)
    ordered = sorted(samples, key=lambda cell: (table.across.get(cell, unknown), rank_mean(means[cell], scores[first])))
    return replace(table, samples={label: samples[label] for label in ordered})


def drop_data_set(run: Run) -> Run:
    """Return a run without what its data set decides; its seed is one of (data set, seed)."""
    config = {key: value for key, value in run.config.items() if key not in OF_DATA}
    config["data"] = {key: value for key, value in (run.config.get("data") or {}).items() if key in KEPT}
    choices = run.config["choices"]
    chosen = {key: str(choices.get(key, "")) for key in ("model", "loss")}
    config["choices"] = chosen | {"group": "-".join(chosen.values())}
    config["seed"] = str(choices.get("data", "")), run.config["seed"]
    return replace(run, config=config)


def split_by_data_set(runs: list[Run]) -> dict[str, list[Run]]:
    """Return the runs of `drop_data_set` by data set."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.config["seed"][0], []).append(run)
    return found


def summarize_ratios(found: dict[str, list[Run]], scores: dict[str, str]) -> tuple[float, float, float] | None:
    """Return the interquartile mean of score / floor over all data sets, and its interval; None where it has none."""
    if len(scores) < 2 or found.keys() != scores.keys():
        return None
    strata = [[compare_to_floor(run, scores[data]) for run in runs] for data, runs in found.items()]
    finite = [[ratio for ratio in ratios if math.isfinite(ratio)] for ratios in strata]
    if not all(finite) or any(math.isnan(ratio) for ratios in strata for ratio in ratios):
        return None
    return compute_iqm([ratio for ratios in finite for ratio in ratios]), *compute_iqm_interval(finite)


def compare_to_first(table: DataSetTable) -> pd.DataFrame:
    """Return the probability that the first cell is better, as the mean over data sets, against each other cell.

    One row per cell with runs on all data sets that the first has; none for one data set.
    """
    first, *others = table.samples
    losses = {
        label: {data: np.array(sample) * sign_score(table.scores[data]) for data, sample in found.items() if sample}
        for label, found in table.samples.items()
    }
    rows = []
    for other in others:
        if len(losses[first]) > 1 and losses[first].keys() == losses[other].keys():
            pairs = [(sample, losses[other][data]) for data, sample in losses[first].items()]
            better, (low, high) = compute_improvement(pairs)
            rows.append({"cell": first, "other": other, "P(better)": better, "P low": low, "P high": high})
    return pd.DataFrame(rows)
