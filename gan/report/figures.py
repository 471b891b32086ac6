"""A chart as a file of its own: scores against images and against time."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gan.report.charts import INK, STYLE, draw_curves, truncate
from gan.report.sections import OTHER, Section, read_evaluations
from gan.run.display import score_label
from gan.system.files import replace_whole

INCHES = (10, 4)
LETTERS = 110  # of a row of the legend


def save_curves(section: Section, path: Path) -> None:
    """Write the chart of a section's score to a file of the path's format; no file for runs without evaluations."""
    if not any(read_evaluations(run, section.score) for run in section.runs):
        return
    with rc_context(STYLE | {"figure.facecolor": "white"}), replace_whole(path) as part:
        figure = Figure(figsize=INCHES, layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, axis in ((left, "images_seen"), (right, "seconds")):
            draw_curves(axes, section.cells, section.score, axis, section.floor_line, score_label(section.score))
        right.set_ylabel("")
        handles = list_handles(section)
        columns = min(4, LETTERS // max(len(handle.get_label()) for handle in handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        figure.savefig(part, format=path.suffix[1:], metadata={"Date": None})


def list_handles(section: Section) -> list[Line2D]:
    """Return the lines of a legend: one per cell with a style of its own, one for all others, one for real images."""
    named = {cell.style: truncate(cell.short, LETTERS // 2) for cell in section.cells if cell.style != OTHER}
    rest = {OTHER: "other cells"} if len(named) < len(section.cells) else {}
    lines = [Line2D([], [], color=color, marker=mark, label=name) for (color, mark, _), name in (named | rest).items()]
    floor = [Line2D([], [], color=INK, linestyle="--", label="real images")] if section.floor_line is not None else []
    return lines + floor
