"""The same report as a page in W&B: panels over the runs of a project or a sweep, a part for each protocol."""

import html
import warnings
from typing import Any

from gan.metrics.protocol import PROTOCOL_ID
from gan.report.parts import Part, parts
from gan.report.settings import varying
from gan.report.words import headline
from gan.run.record import Run

MOST_AXES = 8


def publish(runs: list[Run], project: str, sweep: str | None) -> str:
    """Write a report of a project's runs, given as entity/project, into it and return its address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its pydantic models, on import
        import wandb_workspaces.reports.v2 as wr
    entity, _, name = project.rpartition("/")
    found = parts(runs)
    blocks: list[Any] = [wr.TableOfContents()]
    for part in found:
        blocks += [wr.H1(headline(part)[0]), wr.P(headline(part)[1]), wr.P(f"{part.text}.")]
        for title, panels in sections(wr, part).items():
            runset = wr.Runset(entity=entity, project=name, name=part.text[-17:], filters=filters(part, sweep))
            blocks += [wr.H2(title), wr.PanelGrid(runsets=[runset], panels=arranged(wr, panels))]
    blocks += [wr.H1("Protocols"), wr.MarkdownBlock(protocols(found))]
    title = f"{name}: " + (f"sweep {sweep}" if sweep else f"{len(runs)} runs")
    report = wr.Report(entity=entity, project=name, title=title, blocks=blocks, width="fluid")
    report.save()
    return report.url


def sections(wr: Any, part: Part) -> dict[str, list[Any]]:
    """Return the panels of a protocol by their heading."""
    fid, best = part.score, f"{part.score}_best"
    spread = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    group = {"groupby": wr.Config("choices.cell"), **spread}
    bars = [
        wr.BarPlot(title=f"{best} by {name}", metrics=[wr.SummaryMetric(best)], groupby=wr.Config(name), **spread)
        for name in ("choices.loss", "choices.model")
    ]
    axes = {"step": "trainer/global_step", "images seen": "images_seen", "seconds of training": "seconds"}
    lines = [
        wr.LinePlot(title=f"{fid} against {words}", x=x, y=[fid], log_y=True, **group) for words, x in axes.items()
    ]
    told = [name for name in varying(part.runs) if not name.startswith("choices.")][:MOST_AXES]
    columns = [wr.Config("choices.model"), wr.Config("choices.loss"), *map(wr.Config, told), wr.SummaryMetric(best)]
    parallel = wr.ParallelCoordinatesPlot(
        title="settings", columns=[wr.ParallelCoordinatesPlotColumn(metric=column) for column in columns]
    )
    return {
        "Losses and models": bars,
        "Over training": lines,
        "Settings": [wr.ParameterImportancePlot(with_respect_to=best), parallel],
        "Samples": [wr.MediaBrowser(title="samples", media_keys=["samples"], num_columns=4)],
        "Runs": [wr.RunComparer(diff_only=True)],
    }


def filters(part: Part, sweep: str | None) -> Any:
    """Return which runs a part is about, as W&B's filters."""
    from wandb_workspaces import expr

    chosen = expr.Summary(PROTOCOL_ID) == part.protocol_id
    return expr.And(chosen, expr.Metric("Sweep") == sweep) if sweep else expr.And(chosen)


def arranged(wr: Any, panels: list[Any]) -> list[Any]:
    """Return panels side by side over the 24 columns of a page."""
    width = 24 // len(panels)
    for i, panel in enumerate(panels):
        panel.layout = wr.Layout(x=i * width, y=0, w=width, h=10)
    return panels


def protocols(found: list[Part]) -> str:
    """Return the table of all protocols in Markdown."""
    names = list(dict.fromkeys(name for part in found for name in part.protocol))
    rows = [["", *(part.protocol_id for part in found)], ["---"] * (len(found) + 1)]
    rows += [[name, *(escaped(part.protocol.get(name, "")) for part in found)] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(value: Any) -> str:
    """Return a value as text of a table in Markdown, which may hold HTML."""
    return html.escape(str(value), quote=False).replace("|", r"\|")
