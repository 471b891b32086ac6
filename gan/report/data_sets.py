"""One table of cells by data sets: mean and standard deviation of a score, the best of each data set marked."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gan.errors import InputError
from gan.report.aggregates import compute_iqm
from gan.report.intervals import compute_iqm_interval
from gan.report.statistics import choose_score, compare_to_floor, list_scores, rank_mean
from gan.report.text_tables import escape_latex, render_markdown
from gan.run.display import format_score, score_label
from gan.run.record import Run, group_by_cell

OF_DATA = ("data", "data_sha256", "metrics", "objective")  # keys of a config that follow from the data set
KEPT = ("batch_size",)  # keys of data that are settings of training
BOLD = "**{}**"
ACROSS = "IQM / floor"  # column over all data sets


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


def format_data_sets(table: DataSetTable, bold: str, escape: Callable[[str], str] = str) -> pd.DataFrame:
    """Return the table as escaped text, where `bold` marks the best of each data set, for example by "**{}**"."""
    rows = []
    for cell, found in table.samples.items():
        row = {"cell": escape(cell)}
        for data, score in table.scores.items():
            text = escape(format_sample(found.get(data, []), score))
            row[escape(f"{data}, {score_label(score)}")] = bold.format(text) if cell == table.find_best(data) else text
        if table.across:
            row[ACROSS] = escape(format_across(table.across.get(cell)))
        rows.append(row)
    return pd.DataFrame(rows)


def write_data_sets(table: DataSetTable, path: Path) -> None:
    """Write the table in the format of the file's suffix; CSV has one row per cell and data set, with all digits."""
    caption = "; ".join(f"{data}: {protocol}" for data, protocol in table.protocols.items())
    caption = f"Mean ± standard deviation (number of seeds). {caption}"
    if path.suffix == ".csv":
        pd.DataFrame(list_entries(table)).to_csv(path, index=False)
    elif path.suffix == ".tex":
        rows = format_data_sets(table, r"\textbf{{{}}}", escape_latex)
        rows.to_latex(path, index=False, escape=False, caption=escape_latex(caption))
    else:
        path.write_text(f"{caption}\n\n{render_markdown(format_data_sets(table, BOLD))}\n", encoding="utf-8")


def list_entries(table: DataSetTable) -> list[dict[str, Any]]:
    """Return one row per cell and data set that have runs."""
    return [
        {
            "cell": cell,
            "data": data,
            "score": table.scores[data],
            "n": len(sample),
            "mean": np.mean(sample) if sample else math.nan,
            "std": np.std(sample, ddof=1) if len(sample) > 1 else math.nan,
            "protocol": table.protocols[data],
        }
        for cell, found in table.samples.items()
        for data, sample in found.items()
    ]


def format_sample(sample: list[float], score: str) -> str:
    """Return the mean of a sample, its standard deviation and n as text, "" for none."""
    if not sample:
        return ""
    spread = f" ± {format_score(score, float(np.std(sample, ddof=1)))}" if len(sample) > 1 else ""
    return f"{format_score(score, float(np.mean(sample)))}{spread} ({len(sample)})"


def format_across(row: tuple[float, float, float] | None) -> str:
    """Return the interquartile mean and its interval as text, "" for none."""
    if row is None:
        return ""
    return f"{row[0]:.2f}" + (f" ({row[1]:.2f} to {row[2]:.2f})" if math.isfinite(row[1]) else "")
