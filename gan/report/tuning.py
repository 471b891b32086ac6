"""Charts of the settings that differ between runs: what each explains, and where the good runs lie."""

import itertools
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Line

from gan.report.charts import INK, PAPER, clipped
from gan.report.settings import NONE, logarithmic, named, numeric, written

FROM_BEST = LinearSegmentedColormap.from_list("fid", ["#0072b2", "#7fa7c0", "#d9a53f", "#d55e00"])
LOST = "#8a8f98"  # runs without a FID
MOST_AXES = 8


def bars(axes: Axes, shares: dict[str, float]) -> None:
    """Draw a bar for each setting's share of what the settings explain."""
    names = list(shares)
    axes.barh(names, [shares[name] for name in names], color="#0072b2", height=0.55)
    for y, name in enumerate(names):
        axes.annotate(f"{shares[name]:.0%}", (shares[name], y), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [clipped(named(name)) for name in names])
    axes.set(xlim=(0, 1.15 * max(shares.values()) or 1), xticks=[], ylim=(len(names) - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)


def parallel(axes: Axes, settings: dict[str, list[Any]], fids: list[float], label: str) -> None:
    """Draw an upright axis for each setting and one for FID, and a line for each run, the best on top."""
    logs = [math.log(max(fid, 1e-9)) if math.isfinite(fid) else math.nan for fid in fids]
    known = [value for value in logs if not math.isnan(value)]
    heights = [upright(axes, x, name, settings[name]) for x, name in enumerate(settings)]
    low, high = min(known), max(known)
    last = [(value - low) / (high - low) if high > low else 0.5 for value in logs]
    heights.append([1 - height for height in last])
    ends = [(1, low), (0, high)] if high > low else [(0.5, low)]
    ends = [(y, f"{math.exp(value):.4g}") for y, value in ends]
    pole(axes, len(settings), f"{label}, log", ends)
    for run in sorted(range(len(fids)), key=lambda run: (not math.isnan(last[run]), -last[run])):
        lost = math.isnan(last[run])
        points = [(x, column[run]) for x, column in enumerate(heights) if not math.isnan(column[run])]
        look = {"color": LOST, "linestyle": ":"} if lost else {"color": FROM_BEST(last[run])}
        axes.add_patch(PathPatch(smooth(points), fill=False, linewidth=1.6, alpha=0.5 if lost else 0.85, **look))
    axes.set(xlim=(-0.25, len(settings) + 0.45), ylim=(-0.1, 1.1))
    axes.set_axis_off()


def upright(axes: Axes, x: int, name: str, values: list[Any]) -> list[float]:
    """Draw a setting's axis at x, and return the height of each run on it."""
    if numeric(values):
        scaled = [math.log(value) for value in values] if logarithmic(values) else [float(value) for value in values]
        low, high = min(scaled), max(scaled)
        ticks = sorted(set(values)) if len(set(values)) <= 6 else [min(values), max(values)]
        marks = [((scaled[values.index(tick)] - low) / (high - low), f"{tick:g}") for tick in ticks]
        pole(axes, x, named(name), marks)
        return [(value - low) / (high - low) for value in scaled]
    kinds = sorted(set(values), key=lambda value: (value != NONE, str(value)))
    place = {kind: (i + 0.5) / len(kinds) for i, kind in enumerate(kinds)}
    pole(axes, x, named(name), [(place[kind], clipped(written(name, kind), 18)) for kind in kinds])
    return fanned(values, place)


def fanned(values: list[Any], place: dict[Any, float]) -> list[float]:
    """Return the heights of runs on an axis of kinds, side by side within each so that no line hides another."""
    seen: dict[Any, int] = dict.fromkeys(place, 0)
    heights = []
    for value in values:
        offset = 0.5 - (seen[value] + 0.5) / values.count(value)
        heights.append(place[value] + offset * 0.45 / len(place))
        seen[value] += 1
    return heights


def pole(axes: Axes, x: int, name: str, marks: list[tuple[float, str]]) -> None:
    """Draw an upright axis with its name above and its values beside it."""
    axes.plot([x, x], [0, 1], color=INK, linewidth=1, alpha=0.35)
    short = clipped(".".join(name.split(".")[-2:]), 20)
    axes.annotate(short, (x, 1), (0, 9), textcoords="offset points", ha="center", weight="bold")
    ground = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "alpha": 0.8, "linewidth": 0}
    beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9, "zorder": 5}
    for y, text in marks:
        axes.annotate(text, (x, y), **beside, bbox=ground)


def smooth(points: list[tuple[float, float]]) -> Line:
    """Return a line through points that is level at each."""
    vertices, codes = [points[0]], [Line.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Line.CURVE4] * 3
    return Line(vertices, codes)
