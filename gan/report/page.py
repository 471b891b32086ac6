"""The page: a part for each protocol, made of sentences, charts, samples and tables."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gan.report import charts, tables, tuning
from gan.report.parts import Cell, Part, evaluations, parts, samples
from gan.report.settings import ENOUGH, importance, named, varying
from gan.report.words import headline
from gan.run.display import format_score, score_label
from gan.run.record import Run

MOST_SAMPLES = 12  # cells whose samples are shown
MOST_NAMED = 7  # cells in the legend
MOST_ROWS = 8  # cells in a chart of cells
ROWS = 0.5  # inches of a chart for each of its rows


def page(runs: Iterable[Run], source: str) -> str:
    """Return the report of runs as HTML that needs no other file; `source` says where they come from."""
    found = parts(runs)
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"label": score_label, "number": format_score}
    shown = [shown_part(part) for part in found]
    return environment.get_template("page.html.j2").render(
        parts=shown, source=source, protocols=tables.of_protocols(found)
    )


def shown_part(part: Part) -> dict[str, Any]:
    """Return what the template shows of a part."""
    pictures = [(cell, *drawn) for cell in part.cells if (drawn := samples(cell, part.score))]
    diverged = sum(bool(run.scores.get("diverged")) for run in part.runs)
    return {
        "part": part,
        "headline": headline(part),
        "facts": [("cells", len(part.cells)), ("runs", len(part.runs)), ("diverged", diverged)],
        "legend": part.cells[:MOST_NAMED],
        "single": [(name, each.pop()) for name in ("model", "loss") if len(each := kinds(part, name)) == 1],
        "strips": strips(part),
        "grid": tables.grid(part),
        "curves": curves(part),
        "settings": settings(part),
        "samples": pictures[:MOST_SAMPLES],
        "pictured": len(pictures),
        "cells": tables.of_cells(part),
        "runs": tables.of_runs(part),
    }


def kinds(part: Part, name: str) -> set[str]:
    """Return the models, losses, ... of a part."""
    return {cell.choice(name) for cell in part.cells}


def strips(part: Part) -> list[tuple[str, Markup]]:
    """Return the charts of the best cell of each loss and model, and of the best cells, where they differ."""
    finished = [(cell.short, cell) for cell in part.cells if cell.fids]
    rows = {
        "loss": tables.by_choice(part, "loss"),
        "model": tables.by_choice(part, "model"),
        "cell": finished[:MOST_ROWS],
    }
    chosen: dict[str, list[tuple[str, Cell]]] = {}
    for name, pairs in rows.items():
        shown = [[cell.label for _, cell in others] for others in chosen.values()]
        if len(pairs) > 1 and [cell.label for _, cell in pairs] not in shown:
            chosen[name] = pairs
    chosen = chosen or ({"loss": rows["loss"]} if finished else {})
    found = []
    for name, pairs in chosen.items():
        title, size = f"Lowest {score_label(part.score)} by {name}", (4.6, 0.9 + ROWS * len(pairs))
        data = (pairs, part.line, score_label(part.score))
        found.append((name, charts.svg(f"p{part.name}-{name}", title, size, charts.strip, *data)))
    return found


def curves(part: Part) -> list[Markup]:
    """Return the charts of FID against step and time, none where no run kept evaluations."""
    if not any(evaluations(run, part.score) for run in part.runs):
        return []
    name, data = score_label(part.score), (part.cells, part.score)
    axes = {"step": "generator steps", "seconds": "time"}
    return [
        charts.svg(
            f"p{part.name}-{axis}", f"{name} against {words}", (4.6, 3.3), charts.curves, *data, axis, part.line, name
        )
        for axis, words in axes.items()
    ]


def settings(part: Part) -> dict[str, Any]:
    """Return the charts of the settings that differ, or why there are none, by "bars", "why" and "parallel"."""
    runs, name = part.runs, score_label(part.score)
    fids = [run.scores.get(part.score, math.nan) for run in runs]
    finished = [i for i, fid in enumerate(fids) if math.isfinite(fid)]
    told, compared = varying(runs), varying([runs[i] for i in finished])
    found = {"n": len(finished), "why": why(compared, [fids[i] for i in finished]), "bars": None, "parallel": None}
    shares: dict[str, float] = {}
    if not found["why"]:
        shares = importance(compared, [fids[i] for i in finished])
        size = (4.6, 0.5 + 0.4 * len(shares))
        title = f"Share of the differences in {name} by setting"
        found["bars"] = charts.svg(f"p{part.name}-importance", title, size, tuning.bars, shares)
    if told and finished:
        ordered = sorted(told, key=lambda key: -shares.get(key, 0))[: tuning.MOST_AXES]
        size = (max(9.4, 1.8 * (len(ordered) + 1)), 3.6)
        title = f"Settings and {name} of each run"
        lines = ({key: told[key] for key in ordered}, fids, name)
        found["parallel"] = charts.svg(f"p{part.name}-settings", title, size, tuning.parallel, *lines)
    return found


def why(told: dict[str, list[Any]], fids: list[float]) -> str:
    """Return why the importance of settings cannot be told, nothing where it can."""
    if fids and not told:
        return "No setting differs between these runs but the seed."
    if len(fids) < ENOUGH:
        return f"Too few runs to tell settings apart: {len(fids)} that did not diverge, of {ENOUGH} or more."
    if len(told) == 1:
        return f"Only {named(next(iter(told)))} differs between these runs; there is nothing to weigh it against."
    return "All these runs score the same." if len(set(fids)) == 1 else ""
