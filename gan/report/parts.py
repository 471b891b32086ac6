"""What the page shows of the runs of one protocol: cells in order of FID, each with its colour, curves and samples."""

import base64
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gan.metrics.protocol import hash_protocol
from gan.report.statistics import name_at_n_floor, table, values
from gan.run.record import Run, group_by_cell, group_by_protocol, read_history
from gan.system.run_folder import METRICS

CHOICES = ("data", "model", "loss")
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933")  # Okabe and Ito 2008, an olive
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚", "✖")  # the same in text
REST = ("#8a8f98", ".", "•")  # of cells beyond those that have a colour of their own


@dataclass(frozen=True)
class Cell:
    """The runs of one cell, its FID of each seed that did not diverge, and how it looks in every chart."""

    label: str
    short: str
    runs: list[Run]
    fids: list[float]
    look: tuple[str, str, str]

    @property
    def mean(self) -> float:
        return sum(self.fids) / len(self.fids) if self.fids else math.nan

    def choice(self, name: str) -> str:
        """Return what the cell's runs chose of a group of options."""
        return choice(self.runs[0], name)


@dataclass(frozen=True)
class Part:
    """All that was scored under one protocol; `repeated` counts the runs whose seed a later run took again."""

    name: str
    text: str
    score: str
    rows: pd.DataFrame
    cells: list[Cell]
    repeated: int

    @property
    def runs(self) -> list[Run]:
        return [run for cell in self.cells for run in cell.runs]

    @property
    def floor(self) -> float:
        """What real images score, as many as `reals` says."""
        return float(self.rows[self.score_of_reals].iloc[-1])

    @property
    def reals(self) -> str:
        return str(self.rows["cell"].iloc[-1])

    @property
    def score_of_reals(self) -> str:
        """The score itself or, where real images are fewer than the samples, that of as many samples."""
        return name_at_n_floor(self.runs, self.score)

    @property
    def line(self) -> float | None:
        """Where charts have a line for real images; nowhere, if these are fewer than the samples of the cells."""
        return self.floor if self.score_of_reals == self.score else None

    @property
    def best_at_n_floor(self) -> float:
        """What as many samples of the best cell score as there are real images."""
        return float(self.rows[self.score_of_reals].iloc[0])

    @property
    def protocol(self) -> dict[str, Any]:
        return self.cells[0].runs[0].protocol

    @property
    def protocol_id(self) -> str:
        return hash_protocol(self.protocol)


def parts(runs: Iterable[Run]) -> list[Part]:
    """Return the last states of runs by their protocol, that of most runs first."""
    split = group_by_protocol(run for run in runs if run.checkpoint == "last")
    ordered = sorted(split.items(), key=lambda item: -len(item[1]))
    looks: dict[str, tuple[str, str, str]] = {}
    return [part(str(i + 1), text, members, looks) for i, (text, members) in enumerate(ordered)]


def part(name: str, text: str, runs: list[Run], looks: dict[str, tuple[str, str, str]]) -> Part:
    """Return a protocol's part; a cell looks as it does in `looks`, by its label, which holds new looks afterwards."""
    score = next(name for name in sorted(runs[0].floor) if name.startswith("fid"))
    rows, members = table(runs, score), group_by_cell(runs)
    ordered = list(rows["cell"][:-1])
    short, taken = shorten(members), set()
    for label in ordered:
        free = [look for look in zip(COLOURS, MARKERS, SYMBOLS, strict=True) if look not in taken]
        fresh = [look for look in free if look not in looks.values()] + free + [REST]
        looks[label] = looks[label] if looks.get(label) in free else fresh[0]
        taken.add(looks[label])
    found = [Cell(name, short[name], members[name], values(members[name], score), looks[name]) for name in ordered]
    return Part(name, text, score, rows, found, len(runs) - sum(map(len, members.values())))


def choice(run: Run, name: str) -> str:
    """Return what a run chose of a group of options, nothing where its config does not say."""
    return str(run.config["choices"].get(name, ""))


def shorten(members: dict[str, list[Run]]) -> dict[str, str]:
    """Return short names of cells by their labels: what differs, settings without the first parts of long names."""
    first = {label: runs[0] for label, runs in members.items()}
    differ = [name for name in CHOICES if len({choice(run, name) for run in first.values()}) > 1]
    short = {}
    for label, run in first.items():
        group = str(run.config["choices"]["group"])
        rest = re.sub(r"\._target_=(?:\w+\.)*", "=", label.removeprefix(group))
        rest = re.sub(r"=(\d*\.\d{4,}(?:e-?\d+)?)", lambda found: f"={float(found[1]):.3g}", rest)
        words = [choice(run, name) for name in differ] + [re.sub(r"(?:\w+\.)+(?=\w+\.\w+=)", "", rest).strip()]
        short[label] = " ".join(filter(None, words)) or group
    return short if len(set(short.values())) == len(short) else {label: label for label in short}


def evaluations(run: Run, score: str) -> list[dict[str, float]]:
    """Return the evaluations of a run's training, nothing where they were scored under another protocol than it."""
    path = Path(run.name) / METRICS
    trained = json.loads(path.read_text(encoding="utf-8")).get("protocol") if path.is_file() else None
    rows = read_history(path.parent) if trained == run.protocol else []
    return [row for row in rows if math.isfinite(row.get(score, math.nan))]


def samples(cell: Cell, score: str) -> tuple[Run, str] | None:
    """Return the run of a cell's best seed that has samples, and its last grid as a data: URI."""
    for run in sorted(cell.runs, key=lambda run: finite(run.scores.get(score))):
        drawn = sorted((Path(run.name) / "samples").glob("step_*.png"), key=lambda path: (len(path.name), path.name))
        if drawn:
            return run, "data:image/png;base64," + base64.b64encode(drawn[-1].read_bytes()).decode()
    return None


def finite(value: float | None) -> float:
    """Return a value, inf for none."""
    return value if value is not None and math.isfinite(value) else math.inf
