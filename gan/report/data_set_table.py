"""The table of cells by data sets as text, and in files."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gan.report.data_sets import DataSetTable
from gan.report.text_tables import escape_latex, render_markdown
from gan.run.display import format_score, score_label

BOLD = "**{}**"
ACROSS = "IQM / floor"  # column over all data sets


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
    return f"{format_mean(sample, score)} ({len(sample)})" if sample else ""


def format_mean(sample: list[float], score: str) -> str:
    """Return the mean of a sample and its standard deviation as text, "" for none."""
    if not sample:
        return ""
    spread = f" ± {format_score(score, float(np.std(sample, ddof=1)))}" if len(sample) > 1 else ""
    return f"{format_score(score, float(np.mean(sample)))}{spread}"


def format_across(row: tuple[float, float, float] | None) -> str:
    """Return the interquartile mean and its interval as text, "" for none."""
    if row is None:
        return ""
    return f"{row[0]:.2f}" + (f" ({row[1]:.2f} to {row[2]:.2f})" if math.isfinite(row[1]) else "")
