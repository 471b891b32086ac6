"""Charts of FID as inline SVG: the best cells over their seeds, and training against steps and time."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gan.report.parts import REST, Cell, evaluations

INK, PAPER = "#010203", "#040506"  # stand in the SVG for the colours of the page's text and ground, whatever they are
INKED = ("axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color")
STYLE: dict[str, Any] = dict.fromkeys(INKED, INK) | {
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.alpha": 0.12,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
FAR = 4  # times below the lowest FID, real images are beside a chart of cells and not in it
UNITS = ((3 * 3600, 3600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))


def svg(name: str, title: str, size: tuple[float, float], draw: Callable[..., None], *data: Any) -> Markup:
    """Return what `draw` draws of data into axes as SVG with text, whose ids begin with the chart's name."""
    with matplotlib.rc_context(STYLE):
        figure, out = Figure(figsize=size, layout="constrained"), io.StringIO()
        draw(figure.subplots(), *data)
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = (
        re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
        .replace(INK, "currentColor")
        .replace(PAPER, "var(--page)")
    )
    box = re.search(r'viewBox="[^"]*"', text).group()
    return Markup(f'<svg {box} role="img" aria-label="{escape(title)}">{text[text.index(">") + 1 :]}')


def plain_scale(axis: Axis, values: list[float]) -> None:
    """Make an axis logarithmic where values span an order of magnitude, with plain numbers beside its ticks."""
    low, high = min(values), max(values)
    if low > 0 and high > 8 * low:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    plain_ticks(axis, low, high)


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Write plain numbers beside the ticks of an axis from low to high."""
    wide = low > 0 and high > 8 * low
    subs = (1,) if wide and high > 2000 * low else (1, 3) if wide and high > 60 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs) if wide else MaxNLocator(5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def clipped(text: str, length: int = 30) -> str:
    """Return a text that fits beside an axis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def strip(axes: Axes, rows: list[tuple[str, Cell]], floor: float | None, label: str) -> None:
    """Draw a row for each named cell, best on top: its seeds as dots, their mean and spread, and any real images."""
    for y, (_, cell) in enumerate(rows):
        colour, marker, _ = cell.look
        spread = (sum((fid - cell.mean) ** 2 for fid in cell.fids) / max(1, len(cell.fids) - 1)) ** 0.5
        axes.plot([cell.mean - spread, cell.mean + spread], [y, y], color=colour, linewidth=6, alpha=0.3)
        dots = {"color": colour, "marker": marker, "s": 34, "alpha": 0.85, "linewidth": 0, "zorder": 3}
        axes.scatter(cell.fids, [y] * len(cell.fids), **dots)
        axes.plot([cell.mean, cell.mean], [y - 0.26, y + 0.26], color=INK, linewidth=1.5, zorder=4)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [described(name, cell) for name, cell in rows])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    values = [fid for _, cell in rows for fid in cell.fids]
    if floor is None:
        plain_scale(axes.xaxis, values)
        return
    far = floor < min(values) / FAR
    plain_scale(axes.xaxis, values if far else [floor, *values])
    real_images(axes.axvline, axes.get_xlim()[0] if far else floor)
    text = f"← real images {floor:.3g}" if far else "real images"
    place = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 8.5, "alpha": 0.8}
    axes.annotate(text, (axes.get_xlim()[0] if far else floor, len(rows) - 0.4), **place)


def described(name: str, cell: Cell) -> str:
    """Return a row's name, and below it what else the cell is."""
    words = cell.short.split(" ")
    rest = " ".join(word for i, word in enumerate(words) if i != (words.index(name) if name in words else -1))
    return clipped(name) + (f"\n{clipped(rest)}" if rest and cell.short != name else "")


def real_images(line: Callable[..., Any], floor: float) -> None:
    """Draw the score of real images as a dashed line."""
    line(floor, color=INK, linestyle=(0, (4, 3)), linewidth=1, alpha=0.7)


def curves(axes: Axes, cells: list[Cell], score: str, axis: str, floor: float | None, label: str) -> None:
    """Draw FID against an axis of the evaluations: a thin line for each seed, a strong one for their mean."""
    found = {cell.label: [rows for run in cell.runs if (rows := evaluations(run, score))] for cell in cells}
    reached = [row[axis] for seeds in found.values() for rows in seeds for row in rows]
    _, unit, unit_name = next(each for each in UNITS if max(reached) >= each[0]) if axis == "seconds" else (0, 1, axis)
    for cell in reversed(cells):  # the best on top
        colour, marker, _ = cell.look
        plain = cell.look == REST
        for rows in found[cell.label]:
            points = [row[axis] / unit for row in rows], [row[score] for row in rows]
            axes.plot(*points, color=colour, linewidth=0.8, alpha=0.25 if plain else 0.45)
        mean = average(found[cell.label], axis, score)
        points = [x / unit for x, _ in mean], [y for _, y in mean]
        width, size = (0.8, 0) if plain else (2, 4.5)
        axes.plot(*points, color=colour, linewidth=width, marker=marker, markersize=size)
    axes.set_yscale("log")
    shown = [row[score] for seeds in found.values() for rows in seeds for row in rows]
    if floor is not None:
        real_images(axes.axhline, floor)
        shown.append(floor)
    plain_ticks(axes.yaxis, min(shown), max(shown))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.set(xlabel={"step": "generator steps"}.get(unit_name, f"{unit_name} of training"), ylabel=label)


def average(seeds: list[list[dict[str, float]]], axis: str, score: str) -> list[tuple[float, float]]:
    """Return the mean of axis and score over seeds at the steps that all of them reached."""
    by_step = [{row["step"]: row for row in rows} for rows in seeds]
    shared = sorted(set.intersection(*map(set, by_step))) if by_step else []
    picked = [[rows[step] for rows in by_step] for step in shared]
    return [tuple(sum(row[name] for row in rows) / len(rows) for name in (axis, score)) for rows in picked]
