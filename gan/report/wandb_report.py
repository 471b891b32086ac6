"""The report as a W&B report: panels over the runs of a project or a sweep, one section per protocol."""

import warnings
from typing import Any

from gan.metrics.protocol import PROTOCOL_ID
from gan.report.markdown import render_aggregates, render_protocols
from gan.report.sections import Section, build_sections
from gan.report.settings import find_varying_settings
from gan.report.words import write_headline
from gan.run.record import Run

MOST_AXES = 8


def publish_report(runs: list[Run], project: str, sweep: str | None) -> str:
    """Save a W&B report of the runs of a project ("entity/project"), or of one of its sweeps, and return its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its pydantic models, on import
        import wandb_workspaces.reports.v2 as wr
    entity, _, name = project.rpartition("/")
    report_sections = build_sections(runs)
    blocks: list[Any] = [wr.TableOfContents()]
    for section in report_sections:
        blocks += [wr.H1(write_headline(section)[0]), wr.P(write_headline(section)[1]), wr.P(f"{section.text}.")]
        for title, panels in build_panels(wr, section).items():
            runset = wr.Runset(
                entity=entity, project=name, name=section.text[-17:], filters=build_filters(section, sweep)
            )
            blocks += [wr.H2(title), wr.PanelGrid(runsets=[runset], panels=arrange_panels(wr, panels))]
        for title, text in render_aggregates(section).items():
            blocks += [wr.H2(title), wr.MarkdownBlock(text)]
    blocks += [wr.H1("Protocols"), wr.MarkdownBlock(render_protocols(report_sections))]
    title = f"{name}: " + (f"sweep {sweep}" if sweep else f"{len(runs)} runs")
    report = wr.Report(entity=entity, project=name, title=title, blocks=blocks, width="fluid")
    report.save()
    return report.url


def build_panels(wr: Any, section: Section) -> dict[str, list[Any]]:
    """Return the panels of a section by heading."""
    fid, best = section.score, f"{section.score}_best"
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
    varying = [name for name in find_varying_settings(section.runs) if not name.startswith("choices.")][:MOST_AXES]
    columns = [wr.Config("choices.model"), wr.Config("choices.loss"), *map(wr.Config, varying), wr.SummaryMetric(best)]
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


def build_filters(section: Section, sweep: str | None) -> Any:
    """Return W&B's filters for the runs of a section's protocol."""
    from wandb_workspaces import expr

    chosen = expr.Summary(PROTOCOL_ID) == section.protocol_id
    return expr.And(chosen, expr.Metric("Sweep") == sweep) if sweep else expr.And(chosen)


def arrange_panels(wr: Any, panels: list[Any]) -> list[Any]:
    """Return panels laid out side by side over the 24 columns of a report."""
    width = 24 // len(panels)
    for i, panel in enumerate(panels):
        panel.layout = wr.Layout(x=i * width, y=0, w=width, h=10)
    return panels
