"""results/README.md: the tables of results/tables.yaml, each computed from the files of its runs."""

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gan.report.data_set_table import BOLD, format_mean
from gan.report.durations import describe_minutes, use_several_accelerators
from gan.report.markdown import join_table, render_aggregates
from gan.report.results import (
    LEARNED,
    MOST_PICTURES,
    REPORT,
    ResultTable,
    build_result_sections,
    has_runs,
    name_chart,
    read_tables,
)
from gan.report.sections import Cell, Section, find_picture
from gan.report.statistics import compare_to_floor, list_scores
from gan.report.tables import build_model_loss_grid
from gan.report.words import write_headline
from gan.run.cell import NEUTRAL, flatten
from gan.run.command_line import list_setting_overrides
from gan.run.display import format_score, score_label
from gan.run.record import Run, find_runs
from gan.system.run_folder import GENERATOR

PER_ROW = 4  # sample grids beside each other


def render_results(folder: Path) -> str:
    """Return the page of all tables that have runs, as Markdown, after what learned.md says was learned from them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # join_table escapes what Markdown would read as HTML
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    shown = [describe_table(folder, table) for table in read_tables(folder) if has_runs(folder / table.name)]
    learned = folder / LEARNED
    text = learned.read_text(encoding="utf-8").strip() if learned.is_file() else ""
    return environment.get_template("results.md.j2").render(tables=shown, learned=text)


def describe_table(folder: Path, table: ResultTable) -> dict[str, Any]:
    """Return the variables of the template for one table."""
    runs = find_runs([folder / table.name])
    hours = sum(run.scores.get("seconds", 0) for run in runs) / 3600
    sections = build_result_sections(runs, table)
    scored = [(Path(run.name), section.score, run.scores) for section in sections for run in section.runs]
    drawable = [each for each in scored if (each[0] / GENERATOR).is_file()]
    return {
        "table": table,
        "runs": f"{len(runs)} runs, {hours:.1f} hours of training",
        "code": ", ".join(sorted({run.code or "unknown" for run in runs})),
        "generators": [
            (path.relative_to(folder).as_posix(), f"{score_label(score)} {format_score(score, scores[score])}")
            for path, score, scores in drawable
        ],
        "report": f"{table.name}/{REPORT}",
        "sections": [describe_section(folder, section, table) for section in sections],
    }


def describe_section(folder: Path, section: Section, table: ResultTable) -> dict[str, Any]:
    """Return the variables of the template for the runs of one protocol."""
    commands = [(cell.short, f"`{format_command(cell.runs[0])}`") for cell in section.cells]
    chart = name_chart(section)
    return {
        "text": section.text,
        "headline": write_headline(section),
        "score": score_label(section.score),
        "matrix": render_matrix(section),
        "cells": render_cells(section, table),
        "pictures": render_pictures(folder, section),
        "chart": f"{table.name}/{chart}" if (folder / table.name / chart).is_file() else "",
        "details": render_aggregates(section) | {"The command of each row": join_table(["row", "command"], commands)},
    }


def format_command(run: Run) -> str:
    """Return the command that trains a run again."""
    return shlex.join(["python", "train.py", *list_setting_overrides(run.config), f"seed={run.config['seed']}"])


def render_matrix(section: Section) -> str:
    """Return the score of the best cell of each model with each loss, "" for one model or one loss."""
    grid = build_model_loss_grid(section)
    losses = list(next(iter(grid.values())))
    if len(grid) < 2 or len(losses) < 2:
        return ""
    best = section.cells[0].label

    def show(cell: Cell | None) -> str:
        text = format_mean(cell.fids, section.score) if cell else ""
        return BOLD.format(text) if cell and cell.label == best else text or ("diverged" if cell else "")

    return join_table(["", *losses], [[model, *map(show, row.values())] for model, row in grid.items()])


def render_cells(section: Section, table: ResultTable) -> str:
    """Return the table of cells, the best first, and of real images."""
    statistics = section.rows.iloc[:-1].to_dict("records")
    rows = [describe_cell(cell, row, section, table) for cell, row in zip(section.cells, statistics, strict=True)]
    floors = {name: [run.floor[name] for run in section.runs if name in run.floor] for name in table.columns}
    reals = dict.fromkeys(rows[0], "") | {"cell": section.reals}
    reals[score_label(section.score_of_reals)] = format_score(section.score, section.floor)
    reals |= {score_label(name): format_score(name, float(np.mean(floor))) for name, floor in floors.items() if floor}
    names = [name for name in reals if any(row[name] for row in [*rows, reals])]
    return join_table(names, [[row[name] for name in names] for row in [*rows, reals]])


def describe_cell(cell: Cell, row: dict[str, Any], section: Section, table: ResultTable) -> dict[str, str]:
    """Return a cell's entries by the name of their column."""
    score, low_high = section.score, (row["95% low"], row["95% high"])
    ratios = [compare_to_floor(run, score) for run in cell.runs]
    found = {
        "cell": cell.short,
        "n": str(row["n"]),
        score_label(score): format_mean(cell.fids, score),
        "95% interval": " to ".join(format_score(score, bound) for bound in low_high if math.isfinite(bound)),
        "best checkpoint": show_number(score, row[f"{score} of best"]),
    }
    if section.score_of_reals != score:
        found[score_label(section.score_of_reals)] = show_number(score, row[section.score_of_reals])
    found["times real images"] = f"{np.mean(ratios):.1f}" if np.isfinite(ratios).all() else ""
    found |= {score_label(name): format_mean(list_scores(cell.runs, name), name) for name in table.columns}
    found["diverged"] = str(row["diverged"])
    found["images seen"] = f"{row['images seen']:,}"
    found["minutes"] = describe_minutes(cell.runs, by_accelerator=use_several_accelerators(section.runs))
    found["reference"] = find_reference(cell.runs[0], table.references)
    return found


def show_number(score: str, value: float) -> str:
    """Return a score as text, "" for NaN."""
    return format_score(score, float(value)) if math.isfinite(value) else ""


def find_reference(run: Run, references: list[dict[str, Any]]) -> str:
    """Return the published values for a run's cell with their sources, "" for none."""
    setting = NEUTRAL | flatten(run.config)
    fitting = [one for one in references if one["where"].items() <= setting.items()]
    return "; ".join(f"{one['value']} ({one['source']})" for one in fitting)


def render_pictures(folder: Path, section: Section) -> list[str]:
    """Return tables of the sample grids of the best cells, side by side."""
    found = [(cell.short, find_picture(cell, section.score)) for cell in section.cells]
    shown = [(name, run[1].relative_to(folder).as_posix()) for name, run in found if run][:MOST_PICTURES]
    parts = [shown[i : i + PER_ROW] for i in range(0, len(shown), PER_ROW)]
    return [join_table([name for name, _ in part], [[f"![{name}]({path})" for name, path in part]]) for part in parts]
