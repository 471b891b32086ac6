"""The headline of a section: which cell is best, and whether its lead is more than the luck of the seed."""

import pandas as pd

from gan.report.differences import compare_cells
from gan.report.sections import Cell, Section
from gan.run.display import format_score, score_label

LONGEST_NAME = 45  # characters of a cell's name in a headline


def write_headline(section: Section) -> tuple[str, str]:
    """Return a sentence that names the best cell, and further ones on how certain that is."""
    finished = [cell for cell in section.cells if cell.fids]
    name = score_label(section.score).replace(" ", "\N{NO-BREAK SPACE}")
    if not finished:
        return f"No run has a finite {name}.", "All of them diverged."
    best = finished[0]
    short, more = split_cell_name(best.short)
    first = f"{short} has the lowest {name}: {format_fid(best, section.score)}."
    if len(finished) == 1:
        only = "It is the only cell" + (" that did not diverge." if len(section.cells) > 1 else "; there is no other.")
        return first, more + only + mention_diverged(best)
    return first, more + compare_to_next(best, finished[1], section) + mention_diverged(best)


def split_cell_name(short: str) -> tuple[str, str]:
    """Return a cell's name, cut to fit a headline, and a sentence with the settings that were cut, or ""."""
    head = short.split("=")[0].rpartition(" ")[0]
    if len(short) <= LONGEST_NAME or not head:
        return short, ""
    return head, f"It differs from other cells by{short.removeprefix(head)}. "


def format_fid(cell: Cell, score: str) -> str:
    """Return a cell's mean FID as text, with its standard deviation if there are two seeds or more."""
    mean, n = format_score(score, cell.mean), len(cell.fids)
    if n == 1:
        return f"{mean} with one seed"
    return f"{mean} ± {format_score(score, float(pd.Series(cell.fids).std()))} over {n} seeds"


def compare_to_next(best: Cell, following: Cell, section: Section) -> str:
    """Return a sentence on whether the best cell differs from the next by more than the luck of the seed."""
    behind = f"The next, {following.short}, has {format_fid(following, section.score)}"
    pairs = compare_cells(section.runs, section.score)
    pair = {best.label, following.label}
    tested = [row for row in pairs.to_dict("records") if {row["cell"], row["other"]} == pair]
    if not tested:
        return f"{behind}. Whether that is more than luck, only two seeds or more of each can show."
    row = tested[0]
    sign = 1 if row["cell"] == following.label else -1
    low, high = sorted((sign * row["95% low"], sign * row["95% high"]))
    verdict = "more than the luck of the seed" if row["real"] == "yes" else "not shown to be more than luck at this n"
    span = f"95% interval {format_score(section.score, low)} to {format_score(section.score, high)} for this pair alone"
    holm = f" adjusted for {len(pairs)} pairs" if len(pairs) > 1 else ""
    tested = f"The difference is {verdict} ({span}; p of Welch’s test {row['p']:.2g}{holm})."  # noqa: RUF001
    better, low, high = (row[name] for name in ("P(better)", "P low", "P high"))
    better, low, high = (better, low, high) if sign < 0 else (1 - better, 1 - high, 1 - low)
    return f"{behind}. {tested} A run of the first scores better than one of the next with a probability of " + (
        f"{better:.2f} (95% interval {low:.2f} to {high:.2f})."
    )


def mention_diverged(cell: Cell) -> str:
    """Return a sentence on how many of a cell's runs diverged, "" if none did."""
    n = len(cell.runs) - len(cell.fids)
    return f" {n} of its {len(cell.runs)} runs diverged and {'is' if n == 1 else 'are'} not in its mean." if n else ""
