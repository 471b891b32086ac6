"""The tables of results/: what results/tables.yaml says of each, and the sections of its runs."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from gan.errors import InputError
from gan.report.sections import Section, build_sections
from gan.report.statistics import smaller_is_better
from gan.run.record import Run, group_by_cell
from gan.system.run_folder import METRICS

TABLES, LEARNED, PAGE, RUNS, REPORT = "tables.yaml", "learned.md", "README.md", "runs", "report.html"
MOST_PICTURES = 12  # cells whose samples are shown


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """What results/tables.yaml says about a table: all that its runs' files do not.

    `command` makes its runs, on `machine` at `cost`; `budget` says what is equal in all of them, and `shows` what was
    learned. `score`, of which less must be better, ranks the cells; None is that of
    `gan.report.statistics.choose_score`. `columns` are further scores.
    Cells of less than `fewest_seeds` are left out, such as the trials of a search. Each of `references` has a `value`
    for the cells whose settings, by dotted key, equal those of its `where`, and its `source`.
    """

    name: str
    title: str
    command: str
    cost: str
    budget: str
    machine: str
    shows: str
    score: str | None = None
    columns: list[str] = field(default_factory=list)
    fewest_seeds: int = 1
    references: list[dict[str, Any]] = field(default_factory=list)


def read_tables(folder: Path) -> list[ResultTable]:
    """Return the tables of tables.yaml in a folder; raise InputError for missing or unknown keys and a wrong score."""
    path, tables = folder / TABLES, []
    if not path.is_file():
        raise InputError(f"{path}: no such file; it describes the tables")
    known = ", ".join(part.name for part in fields(ResultTable) if part.name != "name")
    for name, content in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
        try:
            tables.append(ResultTable(name=name, **content))
        except TypeError as error:
            reason = str(error).partition("() ")[2]
            raise InputError(f"{path}: {name}: {reason}; a table has the keys {known}") from error
        if (score := tables[-1].score) and not smaller_is_better(score):
            raise InputError(f"{path}: {name}: score={score}: must be one of which less is better, such as fid")
    return tables


def has_runs(folder: Path) -> bool:
    """Whether a table's folder has a finished run."""
    return any(folder.glob(f"{RUNS}/*/{METRICS}"))


def build_result_sections(runs: list[Run], table: ResultTable) -> list[Section]:
    """Return the sections of a table's runs, with the cells of enough seeds."""
    sections = []
    for section in build_sections(runs, table.score):
        members = group_by_cell(section.all_runs).values()
        enough = [run for runs in members if len(runs) >= table.fewest_seeds for run in runs]
        for part in build_sections(enough, table.score) if enough else []:
            sections.append(replace(part, name=section.name, all_runs=section.all_runs))
    return sections


def name_chart(section: Section) -> str:
    """Return the file name of a section's chart of scores over training."""
    return f"curves_{section.name}.svg"
