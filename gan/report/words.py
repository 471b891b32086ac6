"""The finding of a part in a sentence or two: which cell is best, and whether it is more than luck."""

import pandas as pd

from gan.report.parts import Cell, Part
from gan.report.statistics import differences
from gan.run.display import format_score, score_label

LONGEST = 45  # letters of a cell's name in a headline


def headline(part: Part) -> tuple[str, str]:
    """Return which cell is best, and how sure that is at this number of seeds."""
    finished = [cell for cell in part.cells if cell.fids]
    name = score_label(part.score).replace(" ", "\N{NO-BREAK SPACE}")
    if not finished:
        return f"No run has a finite {name}.", "All of them diverged."
    best = finished[0]
    called, more = in_two(best.short)
    first = f"{called} has the lowest {name}: {measured(best, part.score)}."
    if len(finished) == 1:
        alone = "It is the only cell" + (" that did not diverge." if len(part.cells) > 1 else "; there is no other.")
        return first, more + alone + lost(best)
    return first, more + compared(best, finished[1], part) + lost(best)


def in_two(short: str) -> tuple[str, str]:
    """Return a cell's name that fits a headline, and a sentence with the settings that do not."""
    head = short.split("=")[0].rpartition(" ")[0]
    if len(short) <= LONGEST or not head:
        return short, ""
    return head, f"Its settings are{short.removeprefix(head)}. "


def measured(cell: Cell, score: str) -> str:
    """Return a cell's FID, with its spread where there is one."""
    mean, n = format_score(score, cell.mean), len(cell.fids)
    if n == 1:
        return f"{mean} with one seed"
    return f"{mean} ± {format_score(score, float(pd.Series(cell.fids).std()))} over {n} seeds"


def compared(best: Cell, following: Cell, part: Part) -> str:
    """Return whether the difference between two cells is more than the luck of the seed."""
    behind = f"The next, {following.short}, has {measured(following, part.score)}"
    pairs = differences(part.runs, part.score)
    pair = {best.label, following.label}
    found = [row for row in pairs.to_dict("records") if {row["cell"], row["other"]} == pair]
    if not found:
        return f"{behind}. Whether that is more than luck, only two seeds or more of each can show."
    row = found[0]
    sign = 1 if row["cell"] == following.label else -1
    low, high = sorted((sign * row["95% low"], sign * row["95% high"]))
    shown = "more than the luck of the seed" if row["real"] == "yes" else "not shown to be more than luck at this n"
    span = f"95% interval {format_score(part.score, low)} to {format_score(part.score, high)} for this pair alone"
    holm = f" adjusted for {len(pairs)} pairs" if len(pairs) > 1 else ""
    return f"{behind}. The difference is {shown} ({span}; p of Welch’s test {row['p']:.2g}{holm})."  # noqa: RUF001


def lost(cell: Cell) -> str:
    """Return how many of a cell's runs its mean is without."""
    n = len(cell.runs) - len(cell.fids)
    return f" {n} of its {len(cell.runs)} runs diverged and {'is' if n == 1 else 'are'} not in its mean." if n else ""
