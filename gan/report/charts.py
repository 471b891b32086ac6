"""Charts of FID as inline SVG: the seeds of the best cells, and FID against steps and time."""

import io
import re
from collections.abc import Callable
from textwrap import wrap
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gan.report.durations import list_accelerators
from gan.report.sections import OTHER, Cell, read_evaluations

INK, PAPER = "#010203", "#040506"  # placeholders in the SVG for the page's colors of text and background
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
ROW_LENGTH = 30  # characters of a line beside a chart
FAR = 4  # a floor less than so many times below the lowest FID is drawn to scale, a lower one may be at a chart's edge
NOTE: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": 8.5, "alpha": 0.8}  # on a floor
AXES = {"step": "generator steps", "images_seen": "images that the discriminator has seen"}
TIME_UNITS = (
    (3 * 3600, 3600, "hours"),
    (180, 60, "minutes"),
    (0, 1, "seconds"),
)  # from so many seconds on, seconds in a unit, its name


def render_svg(name: str, title: str, size: tuple[float, float], draw: Callable[..., None], *data: Any) -> Markup:
    """Return the chart that `draw(axes, *data)` draws, as SVG with text.

    `size` is in inches. The SVG's ids begin with `name`, so that several charts fit on one page; `title` is for screen
    readers.
    """
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


def set_plain_scale(axis: Axis, values: list[float]) -> None:
    """Make an axis logarithmic if values span more than a factor of 8, and write plain numbers beside its ticks."""
    low, high = min(values), max(values)
    if low > 0 and high > 8 * low:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    set_plain_ticks(axis, low, high)


def set_plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Write plain numbers beside the ticks of an axis that goes from low to high."""
    wide = low > 0 and high > 8 * low
    subs = (1,) if wide and high > 2000 * low else (1, 3) if wide and high > 60 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs) if wide else MaxNLocator(5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def truncate(text: str, length: int = ROW_LENGTH) -> str:
    """Return a text cut to at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def draw_strip(axes: Axes, rows: list[tuple[str, Cell]], floor: float | None, label: str) -> None:
    """Draw one row per named cell, best on top: its seeds, their mean and standard deviation, and the floor."""
    for y, (_, cell) in enumerate(rows):
        color, marker, _ = cell.style
        deviation = (sum((fid - cell.mean) ** 2 for fid in cell.fids) / max(1, len(cell.fids) - 1)) ** 0.5
        axes.plot([cell.mean - deviation, cell.mean + deviation], [y, y], color=color, linewidth=6, alpha=0.3)
        dots = {"color": color, "marker": marker, "s": 34, "alpha": 0.85, "linewidth": 0, "zorder": 3}
        axes.scatter(cell.fids, [y] * len(cell.fids), **dots)
        axes.plot([cell.mean, cell.mean], [y - 0.26, y + 0.26], color=INK, linewidth=1.5, zorder=4)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [describe_row(name, cell) for name, cell in rows])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    values = [fid for _, cell in rows for fid in cell.fids]
    if floor is None:
        set_plain_scale(axes.xaxis, values)
        return
    set_plain_scale(axes.xaxis, values)
    far = floor < min(min(values) / FAR, axes.get_xlim()[0])  # bands may reach below the lowest FID
    if not far:
        set_plain_scale(axes.xaxis, [floor, *values])
    x, text = (axes.get_xlim()[0], f"← real images {floor:.3g}") if far else (floor, "real images")
    draw_floor(axes.axvline, x)
    axes.annotate(text, (x, len(rows) - 0.4), **NOTE)


def describe_row(name: str, cell: Cell) -> str:
    """Return a row's name and the rest of the cell's name, together on at most two lines."""
    words = cell.short.split(" ")
    rest = " ".join(word for i, word in enumerate(words) if i != (words.index(name) if name in words else -1))
    if not rest or cell.short == name:
        return "\n".join(wrap(name, ROW_LENGTH, max_lines=2, placeholder="…"))
    return f"{truncate(name)}\n{truncate(rest)}"


def draw_floor(line: Callable[..., Any], floor: float) -> None:
    """Draw the score of real images as a dashed line; `line` is axhline or axvline of the axes."""
    line(floor, color=INK, linestyle=(0, (4, 3)), linewidth=1, alpha=0.7)


def draw_curves(axes: Axes, cells: list[Cell], score: str, axis: str, floor: float | None, label: str) -> None:
    """Draw FID against "step", "images_seen" or "seconds": a thin line per seed, a strong one for their mean."""
    evaluations = {cell.label: [rows for run in cell.runs if (rows := read_evaluations(run, score))] for cell in cells}
    reached = [row[axis] for seeds in evaluations.values() for rows in seeds for row in rows]
    _, unit, unit_name = (
        next(each for each in TIME_UNITS if max(reached) >= each[0]) if axis == "seconds" else (0, 1, axis)
    )
    for cell in reversed(cells):  # the best on top
        color, marker, _ = cell.style
        is_other = cell.style == OTHER
        for rows in evaluations[cell.label]:
            points = [row[axis] / unit for row in rows], [row[score] for row in rows]
            axes.plot(*points, color=color, linewidth=0.8, alpha=0.25 if is_other else 0.45)
        mean = average_seeds(evaluations[cell.label], axis, score)
        points = [x / unit for x, _ in mean], [y for _, y in mean]
        width, size = (0.8, 0) if is_other else (2, 4.5)
        axes.plot(*points, color=color, linewidth=width, marker=marker, markersize=size)
    axes.set_yscale("log")
    shown = [row[score] for seeds in evaluations.values() for rows in seeds for row in rows]
    low, high = min(shown), max(shown)
    if floor is not None and floor < min(low / FAR, low**2 / high):  # to scale, most of the chart would be empty
        axes.set_ylim(bottom=axes.get_ylim()[0])
        draw_floor(axes.axhline, axes.get_ylim()[0])
        axes.annotate(f"↓ real images {floor:.3g}", (0, 0), xycoords="axes fraction", **NOTE)
    elif floor is not None:
        draw_floor(axes.axhline, floor)
        low, high = min(low, floor), max(high, floor)
    set_plain_ticks(axes.yaxis, low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    accelerators = list_accelerators(run for cell in cells for run in cell.runs)
    hardware = f", on {' and '.join(name or 'unknown' for name in accelerators)}" if len(accelerators) > 1 else ""
    axes.set(xlabel=AXES.get(unit_name, f"{unit_name} of training{hardware}"), ylabel=label)


def average_seeds(seeds: list[list[dict[str, float]]], axis: str, score: str) -> list[tuple[float, float]]:
    """Return the means over seeds of (axis, score), at the steps that all seeds were evaluated at."""
    by_step = [{row["step"]: row for row in rows} for rows in seeds]
    shared = sorted(set.intersection(*map(set, by_step))) if by_step else []
    picked = [[rows[step] for rows in by_step] for step in shared]
    return [tuple(sum(row[name] for row in rows) / len(rows) for name in (axis, score)) for rows in picked]
