"""Two sets of runs side by side, cell by cell: before and after a change, for example of the code."""

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from gan.errors import InputError
from gan.report.cell_names import get_choice
from gan.report.differences import add_verdicts, compare_members
from gan.report.statistics import list_scores
from gan.run.cell import CHOICES, unify_numbers
from gan.run.record import Run, group_by_cell

SIDES = ("before", "after")
UNKNOWN = "unknown"  # the version of runs that do not record it


def select_version(runs: list[Run], version: str, side: str) -> list[Run]:
    """Return the runs that a version of the code trained; raise InputError with those that there are."""
    selected = [run for run in runs if (run.code or UNKNOWN) == version]
    if not selected:
        known = ", ".join(sorted({run.code or UNKNOWN for run in runs}))
        raise InputError(f"--{side} {version}: must be one of the code versions of these runs: {known}")
    return selected


def compare_sides(before: list[Run], after: list[Run], score: str) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per cell that both sides have, and the labels of all other cells, each with its side.

    Cells are the same if they agree in all settings that both sides have: a version of the code may add some. The
    difference is after minus before, and `P(better)` the probability that a run after is better than one before. A row
    has a test where both sides have two seeds or more; p is adjusted for the number of these rows (Holm 1979).
    """
    shared = set.intersection(*(set().union(*(run.setting for run in runs)) for runs in (before, after)))
    cells = [index_cells(runs, shared) for runs in (before, after)]
    rows, alone = [], []
    for key in dict.fromkeys([*cells[0], *cells[1]]):
        if not all(key in side for side in cells):
            alone += [f"{side[key][0]} ({name})" for name, side in zip(SIDES, cells, strict=True) if key in side]
            continue
        (_, old), (label, new) = (side[key] for side in cells)
        rows.append({"cell": label} | compare_pair(old, new, score))
    tested = iter(add_verdicts([row for row in rows if "p" in row]))
    return pd.DataFrame([next(tested) if "p" in row else row for row in rows]), alone


def index_cells(runs: list[Run], shared: set[str]) -> dict[str, tuple[str, list[Run]]]:
    """Return (label, runs) of each cell by its choices and shared settings; by its own name too, if others equal it."""
    groups = group_by_cell(runs)
    keys = {label: write_key(members[0], shared) for label, members in groups.items()}
    counts = Counter(keys.values())
    return {
        key if counts[key] == 1 else f"{key} {groups[label][0].cell}": (label, groups[label])
        for label, key in keys.items()
    }


def write_key(run: Run, shared: set[str]) -> str:
    """Return a run's data, model and loss, and those of its settings that are shared, as text."""
    chosen = [get_choice(run, name) for name in CHOICES]
    setting = {name: value for name, value in run.setting.items() if name in shared}
    return json.dumps([chosen, unify_numbers(setting)], sort_keys=True, default=str)


def compare_pair(before: list[Run], after: list[Run], score: str) -> dict[str, Any]:
    """Return the means of a cell before and after, and the comparison of them where both have two seeds or more."""
    samples = [list_scores(runs, score) for runs in (before, after)]
    means = [np.mean(sample) if sample else math.nan for sample in samples]
    row = dict(zip(SIDES, means, strict=True)) | {"difference": means[1] - means[0]}
    if all(len(sample) > 1 for sample in samples):
        row |= compare_members(after, before, score)
    return row | {"n": ", ".join(str(len(sample)) for sample in samples)}
