"""Tables of the page: of each entry its text, and what a column is sorted by."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gan.report.parts import Cell, Part, finite
from gan.run.display import format_score, score_label

SPELLED = {"std": "standard deviation", "images_seen": "images seen", "minutes": "minutes", "diverged": "diverged"}
WORDS = ("cell", "folder")


class Entry(NamedTuple):
    """A table's entry: its text, what its column is sorted by, and whether it is a number."""

    text: str
    key: str
    numeric: bool = True


class Table(NamedTuple):
    """Headers, whether each stands above numbers, rows of a cell or none with their entries, and a last row."""

    headers: list[tuple[str, bool]]
    rows: list[tuple[Cell | None, list[Entry]]]
    foot: list[Entry]


def of_cells(part: Part) -> Table:
    """Return gan.report.statistics's table of a part, real images last."""
    titles = {
        part.score: score_label(part.score),
        f"{part.score} of best": f"{score_label(part.score)} of best checkpoint",
    }
    titles[part.score_of_reals] = score_label(part.score_of_reals)
    headers = [(titles.get(name, SPELLED.get(name, name)), name not in WORDS) for name in part.rows]
    by_label = {cell.label: cell for cell in part.cells}
    *rows, real = part.rows.to_dict("records")
    body = [(by_label[row["cell"]], [entry(part.score, name, row[name]) for name in row]) for row in rows]
    return Table(headers, body, [entry(part.score, name, real[name]) for name in real])


def of_runs(part: Part) -> Table:
    """Return a row for each run: its cell, seed, cost and scores, best first."""
    others = [name for name in part.runs[0].floor if name != part.score]
    scores = [part.score, "diverged", "images_seen", "minutes", *others]
    names = ["cell", "seed", *(SPELLED.get(name, score_label(name)) for name in scores), "folder"]
    pairs = [(cell, run) for cell in part.cells for run in cell.runs]
    rows = []
    for cell, run in sorted(pairs, key=lambda pair: finite(pair[1].scores.get(part.score))):
        diverged = bool(run.scores.get("diverged"))
        values = run.scores | {"minutes": run.scores.get("seconds", math.nan) / 60}
        entries = [Entry(cell.short, cell.short, False), entry("seed", "seed", run.config["seed"])]
        entries += [entry(name, name, values.get(name)) for name in scores]
        entries[3] = Entry("yes" if diverged else "no", str(int(diverged)))
        rows.append((cell, [*entries, Entry(Path(run.name).name, run.name, False)]))
    return Table([(name, name not in WORDS) for name in names], rows, [])


def entry(score: str, name: str, value: Any) -> Entry:
    """Return a value as it is shown and sorted, nothing for none."""
    if name in WORDS:
        return Entry(value, value, False)
    if pd.isna(value):
        return Entry("", "")
    if not math.isfinite(value):
        return Entry("∞", str(value))
    if name == "minutes":
        return Entry(f"{value:,.1f}", repr(float(value)))
    whole = isinstance(value, int)
    measure = score if name.startswith((score, "std", "95%")) else name
    return Entry(f"{value:,}" if whole else format_score(measure, float(value)), repr(value if whole else float(value)))


def by_choice(part: Part, name: str) -> list[tuple[str, Cell]]:
    """Return the best cell of each model, loss, ..., best first."""
    best: dict[str, Cell] = {}
    for cell in part.cells:
        if cell.fids:
            best.setdefault(cell.choice(name), cell)
    return list(best.items())


def grid(part: Part) -> dict[str, dict[str, Cell | None]]:
    """Return the best cell of each model with each loss, by model and loss."""
    best: dict[tuple[str, str], Cell] = {}
    for cell in part.cells:
        best.setdefault((cell.choice("model"), cell.choice("loss")), cell)
    models, losses = (sorted({pair[i] for pair in best}) for i in (0, 1))
    return {model: {loss: best.get((model, loss)) for loss in losses} for model in models}


def of_protocols(parts: list[Part]) -> list[tuple[str, bool, list[str]]]:
    """Return each field of the protocols, whether they differ in it, and its value in each part."""
    names = dict.fromkeys(name for part in parts for name in part.protocol)
    rows = [(name, [str(part.protocol.get(name, "")) for part in parts]) for name in names]
    return [(name, len(set(values)) > 1, values) for name, values in rows]
