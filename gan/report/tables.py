"""Tables of the report's page, whose entries have a text and a key to sort columns by."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gan.report.differences import compare_cells
from gan.report.durations import describe_minutes, use_several_accelerators
from gan.report.sections import Cell, Section, finite_or_inf
from gan.run.display import format_score, score_label

COLUMN_TITLES = {
    "std": "standard deviation",
    "images_seen": "images seen",
    "minutes": "minutes",
    "diverged": "diverged",
}
MOST_PAIRS = 20
TEXT_COLUMNS = ("cell", "folder")


class Entry(NamedTuple):
    """An entry of a table: its text, the key that its column is sorted by, and whether it is a number."""

    text: str
    key: str
    numeric: bool = True


class Table(NamedTuple):
    """Headers, each with whether its column holds numbers; rows with the cell they are about; and a last row."""

    headers: list[tuple[str, bool]]
    rows: list[tuple[Cell | None, list[Entry]]]
    foot: list[Entry]


def build_cell_table(section: Section) -> Table:
    """Return the table of `gan.report.statistics.build_table`: one row per cell, real images last."""
    titles = {
        section.score: score_label(section.score),
        f"{section.score} of best": f"{score_label(section.score)} of best checkpoint",
    }
    titles[section.score_of_reals] = score_label(section.score_of_reals)
    headers = [(titles.get(name, COLUMN_TITLES.get(name, name)), name not in TEXT_COLUMNS) for name in section.rows]
    by_label = {cell.label: cell for cell in section.cells}
    *rows, reals = section.rows.to_dict("records")
    body, several = [], use_several_accelerators(section.runs)
    for row in rows:
        cell, entries = by_label[row["cell"]], {name: build_entry(section.score, name, row[name]) for name in row}
        entries["minutes"] = Entry(describe_minutes(cell.runs, by_accelerator=several), entries["minutes"].key)
        body.append((cell, [*entries.values()]))
    return Table(headers, body, [build_entry(section.score, name, reals[name]) for name in reals])


def build_pair_table(section: Section) -> Table:
    """Return one row per pair of cells with two seeds or more, smallest p first, at most `MOST_PAIRS`.

    Each row is about the cell with the better mean, which comes first. The last row says how many pairs are left out,
    and how many of all are more than luck.
    """
    by_label = {cell.label: cell for cell in section.cells}
    rows = []
    pairs = compare_cells(section.runs, section.score)
    for pair in pairs.head(MOST_PAIRS).to_dict("records"):
        first, second, sign = pair["cell"], pair["other"], 1
        better, low, high = (pair[name] for name in ("P(better)", "P low", "P high"))
        if by_label[first].mean > by_label[second].mean:
            first, second, sign = second, first, -1
            better, low, high = 1 - better, 1 - high, 1 - low
        bounds = sorted(sign * pair[name] for name in ("95% low", "95% high"))
        scores = [format_score(section.score, value) for value in (sign * pair["difference"], *bounds)]
        entries = [Entry(by_label[name].short, by_label[name].short, False) for name in (first, second)]
        entries += [
            Entry(scores[0], repr(float(sign * pair["difference"]))),
            Entry(f"{scores[1]} to {scores[2]}", repr(float(bounds[0]))),
            Entry(f"{pair['p']:.2g}", repr(float(pair["p"]))),
            Entry(f"{better:.2f}", repr(float(better))),
            Entry(f"{low:.2f} to {high:.2f}", repr(float(low))),
            Entry(pair["real"], pair["real"], False),
        ]
        rows.append((by_label[first], entries))
    texts = ("better mean", "other", "more than luck")
    titles = ("better mean", "other", "difference", "95% interval", "p", "P(better)", "its 95% interval", texts[-1])
    hidden, shown = len(pairs) - len(rows), sum(pairs["real"] == "yes") if len(pairs) else 0
    text = f"{hidden} more pair{'s' if hidden > 1 else ''}, with larger p; "
    text += f"{shown} of all {len(pairs)} are shown to be more than luck"
    foot = [Entry(text, "", False)] if hidden else []
    return Table([(name, name not in texts) for name in titles], rows, foot)


def build_run_table(section: Section) -> Table:
    """Return one row per run, best first: its cell, seed, cost and scores."""
    others = [name for name in section.runs[0].floor if name != section.score]
    scores = [section.score, "diverged", "images_seen", "minutes", *others]
    names = ["cell", "seed", *(COLUMN_TITLES.get(name, score_label(name)) for name in scores), "folder"]
    pairs = [(cell, run) for cell in section.cells for run in cell.runs]
    rows, several = [], use_several_accelerators(section.runs)
    for cell, run in sorted(pairs, key=lambda pair: finite_or_inf(pair[1].scores.get(section.score))):
        diverged = bool(run.scores.get("diverged"))
        values = run.scores | {"minutes": run.scores.get("seconds", math.nan) / 60}
        entries = [Entry(cell.short, cell.short, False), build_entry("seed", "seed", run.config["seed"])]
        entries += [build_entry(name, name, values.get(name)) for name in scores]
        entries[3] = Entry("yes" if diverged else "no", str(int(diverged)))
        entries[5] = Entry(describe_minutes([run], by_accelerator=several), entries[5].key)
        rows.append((cell, [*entries, Entry(Path(run.name).name, run.name, False)]))
    return Table([(name, name not in TEXT_COLUMNS) for name in names], rows, [])


def build_entry(score: str, name: str, value: Any) -> Entry:
    """Return the entry of a value in the column `name` of a table of `score`; a missing value is empty."""
    if name in TEXT_COLUMNS:
        return Entry(value, value, False)
    if pd.isna(value):
        return Entry("", "")
    if not math.isfinite(value):
        return Entry("∞", str(value))
    if name == "minutes":
        return Entry(f"{value:,.1f}", repr(float(value)))
    whole = isinstance(value, int)
    measure = score if name.startswith((score, "std", "95%", "IQM")) else name
    return Entry(f"{value:,}" if whole else format_score(measure, float(value)), repr(value if whole else float(value)))


def find_best_by_choice(section: Section, group: str) -> list[tuple[str, Cell]]:
    """Return the best cell of each option of a config group (model, loss, ...), best first."""
    best: dict[str, Cell] = {}
    for cell in section.cells:
        if cell.fids:
            best.setdefault(cell.get_choice(group), cell)
    return list(best.items())


def build_model_loss_grid(section: Section) -> dict[str, dict[str, Cell | None]]:
    """Return the best cell of each model with each loss, by model and loss; None for a pair without runs."""
    best: dict[tuple[str, str], Cell] = {}
    for cell in section.cells:
        best.setdefault((cell.get_choice("model"), cell.get_choice("loss")), cell)
    models, losses = (sorted({pair[i] for pair in best}) for i in (0, 1))
    return {model: {loss: best.get((model, loss)) for loss in losses} for model in models}


def list_protocol_fields(sections: list[Section]) -> list[tuple[str, bool, list[str]]]:
    """Return (field, whether the protocols differ in it, its value in each section) for each field of the protocols."""
    names = dict.fromkeys(name for section in sections for name in section.protocol)
    rows = [(name, [str(section.protocol.get(name, "")) for section in sections]) for name in names]
    return [(name, len(set(values)) > 1, values) for name, values in rows]
