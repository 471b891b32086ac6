"""The report as one HTML page: one section per protocol, with a headline, charts, samples and tables."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gan.report import aggregate_charts, charts, tables, tuning
from gan.report.sections import Cell, Section, build_sections, find_samples, read_evaluations
from gan.report.settings import FEWEST_RUNS, compute_importance, find_varying_settings, format_setting_name
from gan.report.words import write_headline
from gan.run.display import format_score, score_label
from gan.run.record import Run

MOST_SAMPLES = 12  # cells whose samples are shown
MOST_NAMED = 7  # cells in the legend
MOST_ROWS = 8  # cells in a chart of cells
ROW_INCHES = 0.5  # of a chart of cells


def render_page(runs: Iterable[Run], source: str, score: str | None = None) -> str:
    """Return the report of runs as HTML that needs no other file; `source` is shown as where they come from.

    `score` ranks the cells; None is that of `gan.report.statistics.choose_score`.
    """
    sections = build_sections(runs, score)
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"label": score_label, "number": format_score}
    shown = [describe_section(section) for section in sections]
    return environment.get_template("page.html.j2").render(
        sections=shown, source=source, protocols=tables.list_protocol_fields(sections)
    )


def describe_section(section: Section) -> dict[str, Any]:
    """Return the variables of the template for one section."""
    pictures = [(cell, *drawn) for cell in section.cells if (drawn := find_samples(cell, section.score))]
    diverged = sum(bool(run.scores.get("diverged")) for run in section.runs)
    return {
        "section": section,
        "headline": write_headline(section),
        "facts": [("cells", len(section.cells)), ("runs", len(section.runs)), ("diverged", diverged)],
        "legend": section.cells[:MOST_NAMED],
        "single": [(name, each.pop()) for name in ("model", "loss") if len(each := list_choices(section, name)) == 1],
        "strips": render_strips(section),
        "grid": tables.build_model_loss_grid(section),
        "pairs": tables.build_pair_table(section),
        "profile": aggregate_charts.render_profile(section),
        "curves": render_curves(section),
        "searches": aggregate_charts.render_best_of_k(section),
        "settings": render_settings(section),
        "samples": pictures[:MOST_SAMPLES],
        "pictured": len(pictures),
        "cells": tables.build_cell_table(section),
        "runs": tables.build_run_table(section),
    }


def list_choices(section: Section, group: str) -> set[str]:
    """Return the options of a config group (data, model or loss) that occur in a section."""
    return {cell.get_choice(group) for cell in section.cells}


def render_strips(section: Section) -> list[tuple[str, Markup]]:
    """Return charts of the best cell per loss, the best per model, and the best of all; each by name, none twice."""
    finished = [(cell.short, cell) for cell in section.cells if cell.fids]
    rows = {
        "loss": tables.find_best_by_choice(section, "loss"),
        "model": tables.find_best_by_choice(section, "model"),
        "cell": finished[:MOST_ROWS],
    }
    chosen: dict[str, list[tuple[str, Cell]]] = {}
    for name, pairs in rows.items():
        shown = [[cell.label for _, cell in others] for others in chosen.values()]
        if len(pairs) > 1 and [cell.label for _, cell in pairs] not in shown:
            chosen[name] = pairs
    chosen = chosen or ({"loss": rows["loss"]} if finished else {})
    rendered = []
    for name, pairs in chosen.items():
        title, size = f"Lowest {score_label(section.score)} by {name}", (4.6, 0.9 + ROW_INCHES * len(pairs))
        data = (pairs, section.floor_line, score_label(section.score))
        rendered.append((name, charts.render_svg(f"p{section.name}-{name}", title, size, charts.draw_strip, *data)))
    return rendered


def render_curves(section: Section) -> list[Markup]:
    """Return the charts of FID against step and time, [] if no run saved evaluations."""
    if not any(read_evaluations(run, section.score) for run in section.runs):
        return []
    name, data = score_label(section.score), (section.cells, section.score)
    axes = {"step": "generator steps", "seconds": "time"}
    return [
        charts.render_svg(
            f"p{section.name}-{axis}",
            f"{name} against {words}",
            (4.6, 3.3),
            charts.draw_curves,
            *data,
            axis,
            section.floor_line,
            name,
        )
        for axis, words in axes.items()
    ]


def render_settings(section: Section) -> dict[str, Any]:
    """Return the charts of the settings that differ between runs.

    "bars" is the importance of each, or None for the reason in "why"; "parallel" shows the settings of each run; "n" is
    the number of runs that did not diverge.
    """
    runs, name = section.runs, score_label(section.score)
    fids = [run.scores.get(section.score, math.nan) for run in runs]
    finished = [i for i, fid in enumerate(fids) if math.isfinite(fid)]
    varying, compared = find_varying_settings(runs), find_varying_settings([runs[i] for i in finished])
    compared_fids = [fids[i] for i in finished]
    why = explain_missing_importance(compared, compared_fids)
    rendered: dict[str, Any] = {"n": len(finished), "why": why, "bars": None, "parallel": None}
    shares: dict[str, float] = {}
    if not why:
        shares = compute_importance(compared, compared_fids)
        size = (4.6, 0.5 + 0.4 * len(shares))
        title = f"Share of the differences in {name} by setting"
        rendered["bars"] = charts.render_svg(f"p{section.name}-importance", title, size, tuning.draw_bars, shares)
    if varying and finished:
        ordered = sorted(varying, key=lambda key: -shares.get(key, 0))[: tuning.MOST_AXES]
        size = (max(9.4, 1.8 * (len(ordered) + 1)), 3.6)
        title, data = f"Settings and {name} of each run", ({key: varying[key] for key in ordered}, fids, name)
        svg = charts.render_svg(f"p{section.name}-settings", title, size, tuning.draw_parallel_axes, *data)
        rendered["parallel"] = svg
    return rendered


def explain_missing_importance(varying: dict[str, list[Any]], fids: list[float]) -> str:
    """Return why the importance of settings can't be computed, "" if it can."""
    if fids and not varying:
        return "No setting differs between these runs but the seed."
    if len(fids) < FEWEST_RUNS:
        return f"Too few runs to tell settings apart: {len(fids)} that did not diverge, of {FEWEST_RUNS} or more."
    if len(varying) == 1:
        only = format_setting_name(next(iter(varying)))
        return f"Only {only} differs between these runs; there is nothing to weigh it against."
    return "All these runs score the same." if len(set(fids)) == 1 else ""
