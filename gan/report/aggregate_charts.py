"""Charts of aggregates: the performance profile of the best cells, and the expected best of k trials of a search."""

import itertools

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gan.report.aggregates import Profile
from gan.report.charts import INK, render_svg, set_plain_ticks, truncate
from gan.report.profiles import FEWEST_CELLS, build_profiles
from gan.report.sections import COLORS, MARKERS, Cell, Section
from gan.report.trials import Curve, build_best_curves
from gan.run.display import score_label

DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (2, 2)))
MOST_STUDIES = len(COLORS)
LONGEST_NAME = 55  # characters of a line of a legend
LEGEND_INCHES = 0.18  # of a line of a legend


def render_profile(section: Section) -> Markup | None:
    """Return the performance profile of the best cells, None without two cells or without a floor."""
    profiles = build_profiles(section)
    if len(profiles) < FEWEST_CELLS:
        return None
    label, size = score_label(section.score), (4.6, 3.2 + LEGEND_INCHES * len(profiles))
    title, data = f"Performance profile in {label}", (profiles, label)
    return render_svg(f"p{section.name}-profile", title, size, draw_profiles, *data)


def render_best_of_k(section: Section) -> Markup | None:
    """Return the expected best score against the number of trials, None where no study has two trials."""
    curves = dict(list(build_best_curves(section.all_runs, section.score).items())[:MOST_STUDIES])
    if not curves:
        return None
    label, size = score_label(section.score), (4.6, 3.2 + LEGEND_INCHES * len(curves))
    title, data = f"Expected best {label} of k trials", (curves, label)
    return render_svg(f"p{section.name}-best", title, size, draw_best_of_k, *data)


def draw_profiles(axes: Axes, profiles: list[tuple[Cell, Profile]], label: str) -> None:
    """Draw the share of each cell's runs at or below each multiple of the floor, with the interval of the best cell."""
    for i, ((cell, profile), dashes) in enumerate(zip(profiles, DASHES, strict=False)):
        color, marker, _ = cell.style
        look = {
            "color": color,
            "linestyle": dashes,
            "linewidth": 1.8,
            "marker": marker,
            "markersize": 5,
            "drawstyle": "steps-post",
        }
        every = (3 * i, len(profile.taus) // 8)  # the markers of lines that coincide are beside each other
        axes.plot(profile.taus, profile.shares, label=truncate(cell.short, LONGEST_NAME), markevery=every, **look)
    (best, profile), *_ = profiles
    axes.fill_between(
        profile.taus, profile.low, profile.high, color=best.style[0], step="post", alpha=0.13, linewidth=0
    )
    axes.set_xscale("log")
    set_plain_ticks(axes.xaxis, profile.taus[0], profile.taus[-1])
    axes.set(
        xlabel=f"τ, multiples of the {label} of real images", ylabel="share of runs at or below τ", ylim=(-0.03, 1.03)
    )
    add_legend(axes)


def draw_best_of_k(axes: Axes, curves: dict[str, Curve], label: str) -> None:
    """Draw the expected best score against the number of trials, one line per study."""
    for (study, curve), color, marker, dashes in zip(curves.items(), COLORS, MARKERS, DASHES, strict=False):
        look = {"color": color, "marker": marker, "linestyle": dashes, "markersize": 4.5, "linewidth": 1.8}
        axes.plot(
            *zip(*curve, strict=True), label=truncate(study, LONGEST_NAME), markevery=max(1, len(curve) // 10), **look
        )
    values = [value for _, value in itertools.chain(*curves.values())]
    if max(values) > 8 * min(values) > 0:
        axes.set_yscale("log")
    set_plain_ticks(axes.yaxis, min(values), max(values))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(xlabel="k, trials", ylabel=f"expected best {label} of k trials")
    add_legend(axes)


def add_legend(axes: Axes) -> None:
    """Write the legend below the axes, where it covers no line."""
    look = {"frameon": False, "fontsize": 8.5, "labelcolor": INK, "handlelength": 4}
    axes.figure.legend(handles=axes.get_lines(), loc="outside lower left", **look)
