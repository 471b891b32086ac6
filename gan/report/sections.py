"""Sections of a report, one per protocol: the cells in order of FID, each with its style, evaluations and samples."""

import base64
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gan.metrics.protocol import hash_protocol
from gan.report.cell_names import get_choice, shorten_names
from gan.report.intervals import FEWEST_FOR_IQM
from gan.report.statistics import build_table, choose_score, list_scores, name_at_n_floor
from gan.run.record import Run, drop_selecting_runs, group_by_cell, group_by_protocol, read_history
from gan.system.run_folder import METRICS

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933")  # Okabe and Ito 2008, an olive
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚", "✖")  # the markers as text
OTHER = ("#8a8f98", ".", "•")  # the style of all further cells


@dataclass(frozen=True)
class Cell:
    """The runs of one cell, the FID of each seed that did not diverge, and the cell's style in every chart.

    `label` is the cell's full name in these runs, `short` the name in charts; `style` is (color, marker, symbol).
    """

    label: str
    short: str
    runs: list[Run]
    fids: list[float]
    style: tuple[str, str, str]

    @property
    def mean(self) -> float:
        """The mean FID over seeds; NaN if all of them diverged."""
        return sum(self.fids) / len(self.fids) if self.fids else math.nan

    def get_choice(self, group: str) -> str:
        """Return the option of a config group (data, model or loss) that the cell's runs used."""
        return get_choice(self.runs[0], group)


@dataclass(frozen=True)
class Section:
    """All cells that were scored under one protocol, in order of FID.

    `name` is the section's number as text, `text` the protocol in words, `score` the FID's name at this number of
    samples, `rows` the table of `gan.report.statistics.build_table`. `all_runs` has the runs that no cell has, too:
    `selecting` counts those by which a search chose a setting that it confirmed on fresh seeds, and `repeated` those
    that a later run of the same cell and seed replaces.
    """

    name: str
    text: str
    score: str
    rows: pd.DataFrame
    cells: list[Cell]
    all_runs: list[Run]

    @property
    def selecting(self) -> int:
        return len(self.all_runs) - len(drop_selecting_runs(self.all_runs))

    @property
    def repeated(self) -> int:
        return len(self.all_runs) - self.selecting - len(self.runs)

    @property
    def runs(self) -> list[Run]:
        """The runs of all cells."""
        return [run for cell in self.cells for run in cell.runs]

    @property
    def floor(self) -> float:
        """The score of real images; `reals` says how many they are."""
        return float(self.rows[self.score_of_reals].iloc[-1])

    @property
    def reals(self) -> str:
        """The number of real images behind the floor, in words: "1,000 real images"."""
        return str(self.rows["cell"].iloc[-1])

    @property
    def score_of_reals(self) -> str:
        """The column that compares with real images: the score or, if these are fewer, that of as many samples."""
        return name_at_n_floor(self.runs, self.score)

    @property
    def floor_line(self) -> float | None:
        """The height of the line for real images in charts; None if they are fewer than the samples of the cells."""
        return self.floor if self.score_of_reals == self.score else None

    @property
    def best_at_n_floor(self) -> float:
        """The score of the best cell, of as many samples as there are real images."""
        return float(self.rows[self.score_of_reals].iloc[0])

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol of all runs of the section."""
        return self.cells[0].runs[0].protocol

    @property
    def protocol_id(self) -> str:
        """The hash of the protocol, as W&B files it."""
        return hash_protocol(self.protocol)


def build_sections(runs: Iterable[Run], score: str | None = None) -> list[Section]:
    """Return a section per protocol, of the last checkpoints of runs; the protocol of most runs comes first.

    `score` is that of `choose_score`.
    """
    split = group_by_protocol(run for run in runs if run.checkpoint == "last")
    ordered = sorted(split.items(), key=lambda item: -len(item[1]))
    styles: dict[str, tuple[str, str, str]] = {}
    return [build_section(str(i + 1), text, members, styles, score) for i, (text, members) in enumerate(ordered)]


def build_section(
    name: str, text: str, runs: list[Run], styles: dict[str, tuple[str, str, str]], score: str | None = None
) -> Section:
    """Return a protocol's section; cells keep their style of `styles`, by label, and new styles are added to it."""
    score, members = choose_score(runs, score), group_by_cell(runs)
    seeds = max(len(list_scores(each, score)) for each in members.values())
    rows = build_table(runs, score, with_iqm=seeds >= FEWEST_FOR_IQM)
    ordered = list(rows["cell"][:-1])
    short, taken = shorten_names(members), set()
    for label in ordered:
        free = [style for style in zip(COLORS, MARKERS, SYMBOLS, strict=True) if style not in taken]
        unused = [style for style in free if style not in styles.values()] + free + [OTHER]
        styles[label] = styles[label] if styles.get(label) in free else unused[0]
        taken.add(styles[label])
    ordered_cells = [
        Cell(name, short[name], members[name], list_scores(members[name], score), styles[name]) for name in ordered
    ]
    return Section(name, text, score, rows, ordered_cells, runs)


def read_evaluations(run: Run, score: str) -> list[dict[str, float]]:
    """Return the evaluations during a run's training, [] if they were scored under another protocol than the run."""
    path = Path(run.name) / METRICS
    trained = json.loads(path.read_text(encoding="utf-8")).get("protocol") if path.is_file() else None
    rows = read_history(path.parent) if trained == run.protocol else []
    return [row for row in rows if math.isfinite(row.get(score, math.nan))]


def find_samples(cell: Cell, score: str) -> tuple[Run, str] | None:
    """Return the best run of a cell that saved samples, and its last grid as a data: URI; None if no run did."""
    found = find_picture(cell, score)
    return found and (found[0], "data:image/png;base64," + base64.b64encode(found[1].read_bytes()).decode())


def find_picture(cell: Cell, score: str) -> tuple[Run, Path] | None:
    """Return the best run of a cell that saved samples, and its last grid; None if no run did."""
    for run in sorted(cell.runs, key=lambda run: finite_or_inf(run.scores.get(score))):
        if path := find_last_picture(Path(run.name)):
            return run, path
    return None


def find_last_picture(folder: Path) -> Path | None:
    """Return the grid of samples that a run drew last, None if it drew none."""
    drawn = sorted((folder / "samples").glob("step_*.png"), key=lambda path: (len(path.name), path.name))
    return drawn[-1] if drawn else None


def finite_or_inf(value: float | None) -> float:
    """Return a value, inf for None, NaN and infinite ones."""
    return value if value is not None and math.isfinite(value) else math.inf
