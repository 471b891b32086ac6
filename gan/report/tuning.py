"""Charts of the settings that differ between runs: how much each explains, and the settings of the best runs."""

import itertools
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Line

from gan.report.charts import INK, PAPER, truncate
from gan.report.settings import NONE, format_setting_name, format_setting_value, is_logarithmic, is_numeric

FROM_BEST = LinearSegmentedColormap.from_list("fid", ["#0072b2", "#7fa7c0", "#d9a53f", "#d55e00"])
DIVERGED = "#8a8f98"  # color of runs without a FID
MOST_AXES = 8


def draw_bars(axes: Axes, shares: dict[str, float]) -> None:
    """Draw one bar per setting: its share (0 to 1) of what the settings explain together."""
    names = list(shares)
    axes.barh(names, [shares[name] for name in names], color="#0072b2", height=0.55)
    for y, name in enumerate(names):
        axes.annotate(f"{shares[name]:.0%}", (shares[name], y), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), [truncate(format_setting_name(name)) for name in names])
    axes.set(xlim=(0, 1.15 * max(shares.values()) or 1), xticks=[], ylim=(len(names) - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)


def draw_parallel_axes(axes: Axes, settings: dict[str, list[Any]], fids: list[float], label: str) -> None:
    """Draw one vertical axis per setting, one for FID, and one line per run, the best on top (parallel coordinates)."""
    logs = [math.log(max(fid, 1e-9)) if math.isfinite(fid) else math.nan for fid in fids]
    known = [value for value in logs if not math.isnan(value)]
    heights = [draw_setting_axis(axes, x, name, settings[name]) for x, name in enumerate(settings)]
    low, high = min(known), max(known)
    last = [(value - low) / (high - low) if high > low else 0.5 for value in logs]
    heights.append([1 - height for height in last])
    ends = [(1, low), (0, high)] if high > low else [(0.5, low)]
    ends = [(y, f"{math.exp(value):.4g}") for y, value in ends]
    draw_axis(axes, len(settings), f"{label}, log", ends)
    for run in sorted(range(len(fids)), key=lambda run: (not math.isnan(last[run]), -last[run])):
        diverged = math.isnan(last[run])
        points = [(x, column[run]) for x, column in enumerate(heights) if not math.isnan(column[run])]
        look = {"color": DIVERGED, "linestyle": ":"} if diverged else {"color": FROM_BEST(last[run])}
        axes.add_patch(
            PathPatch(build_smooth_path(points), fill=False, linewidth=1.6, alpha=0.5 if diverged else 0.85, **look)
        )
    axes.set(xlim=(-0.25, len(settings) + 0.45), ylim=(-0.1, 1.1))
    axes.set_axis_off()


def draw_setting_axis(axes: Axes, x: int, name: str, values: list[Any]) -> list[float]:
    """Draw a setting's axis at x, and return the height of each run on it, 0 to 1."""
    if is_numeric(values):
        scaled = [math.log(value) for value in values] if is_logarithmic(values) else [float(value) for value in values]
        low, high = min(scaled), max(scaled)
        ticks = sorted(set(values)) if len(set(values)) <= 6 else [min(values), max(values)]
        marks = [((scaled[values.index(tick)] - low) / (high - low), f"{tick:g}") for tick in ticks]
        draw_axis(axes, x, format_setting_name(name), marks)
        return [(value - low) / (high - low) for value in scaled]
    kinds = sorted(set(values), key=lambda value: (value != NONE, str(value)))
    centers = {kind: (i + 0.5) / len(kinds) for i, kind in enumerate(kinds)}
    draw_axis(
        axes,
        x,
        format_setting_name(name),
        [(centers[kind], truncate(format_setting_value(name, kind), 18)) for kind in kinds],
    )
    return spread_heights(values, centers)


def spread_heights(values: list[Any], centers: dict[Any, float]) -> list[float]:
    """Return the heights of runs about the centers of their values, spread so that no line hides another."""
    seen: dict[Any, int] = dict.fromkeys(centers, 0)
    heights = []
    for value in values:
        offset = 0.5 - (seen[value] + 0.5) / values.count(value)
        heights.append(centers[value] + offset * 0.45 / len(centers))
        seen[value] += 1
    return heights


def draw_axis(axes: Axes, x: int, name: str, marks: list[tuple[float, str]]) -> None:
    """Draw a vertical axis at x, its name above it and `marks` of (height, text) beside it."""
    axes.plot([x, x], [0, 1], color=INK, linewidth=1, alpha=0.35)
    short = truncate(".".join(name.split(".")[-2:]), 20)
    axes.annotate(short, (x, 1), (0, 9), textcoords="offset points", ha="center", weight="bold")
    ground = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "alpha": 0.8, "linewidth": 0}
    beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9, "zorder": 5}
    for y, text in marks:
        axes.annotate(text, (x, y), **beside, bbox=ground)


def build_smooth_path(points: list[tuple[float, float]]) -> Line:
    """Return a smooth path through points, horizontal at each."""
    vertices, codes = [points[0]], [Line.MOVETO]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Line.CURVE4] * 3
    return Line(vertices, codes)
