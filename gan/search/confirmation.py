"""The best settings of a study, run again on fresh seeds: the score of the best of many on one seed is partly luck."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.table import Table

from gan.report.intervals import compute_interval
from gan.run.command_line import quote_value
from gan.run.display import format_score, score_label
from gan.run.record import CONFIRMED_SUFFIX
from gan.search.parameters import replace_seed, suggest
from gan.search.space import Space
from gan.search.trials import CONFIRMS, DIVERGED, FAILURE

FOLDER = "confirm"  # of the runs, in the study's folder
PARAMETERS = {CONFIRMS: IntDistribution(0, 2**31), "seed": IntDistribution(0, 2**32 - 1)}


@dataclass
class Confirmed:
    """A setting with the value that its trial had in the search, and its values on fresh seeds (inf: diverged)."""

    trial: FrozenTrial
    values: dict[int, float] = field(default_factory=dict)  # by seed

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values()) if self.values else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """A 95% interval of the mean, NaNs where there is none."""
        values = [*self.values.values()]
        return compute_interval(values) if all(map(math.isfinite, values)) else (math.nan, math.nan)

    def describe(self) -> dict[str, Any]:
        """Return it for a file of results."""
        low, high = self.interval
        facts = {"trial": self.trial.number, "params": self.trial.params, "value_in_search": self.trial.value}
        return facts | {"mean": self.mean, "low": low, "high": high, "values": self.values}


def choose_best(study: optuna.Study, k: int) -> list[FrozenTrial]:
    """Return the trials of the k best settings, best first."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best: list[FrozenTrial] = []
    for trial in sorted(ended, key=lambda trial: trial.value):
        if trial.params not in [other.params for other in best]:
            best.append(trial)
    return best[:k]


class ConfirmationSpace:
    """What the trials of a confirmation draw: a trial of the study, whose setting they run again, and a fresh seed.

    `subdir` is the pattern of the study's run folders, and `has_reports` says whether its runs report to a study.
    """

    parameters: dict[str, BaseDistribution] = PARAMETERS

    def __init__(self, study: optuna.Study, space: Space, *, subdir: str, has_reports: bool) -> None:
        self.study, self.space, self.subdir, self.has_reports = study, space, subdir, has_reports

    def draw_overrides(self, trial: Trial) -> list[str]:
        """Draw a trial's parameters and return its overrides."""
        number, seed = (suggest(trial, name, part) for name, part in self.parameters.items())
        words = replace_seed(self.space.list_overrides(self.study.get_trials(deepcopy=False)[number].params), seed)
        return [*words, f"hydra.sweep.subdir='{FOLDER}/{self.subdir}'", *self.list_report_options(number)]

    def list_report_options(self, number: int) -> Iterator[str]:
        if self.has_reports:
            name = quote_value(self.study.study_name + CONFIRMED_SUFFIX)
            yield from (f"callbacks.search.study_name={name}", f"callbacks.search.trial={number}")


def list_cells(best: list[FrozenTrial], seeds: list[int]) -> list[dict[str, int]]:
    """Return the parameters of each run, the first seed of all settings first."""
    return [{CONFIRMS: trial.number, "seed": seed} for seed in seeds for trial in best]


def collect_confirmed(confirmation: optuna.Study, best: list[FrozenTrial]) -> list[Confirmed]:
    """Return the settings with what their runs have returned, the best first."""
    found = {trial.number: Confirmed(trial) for trial in best}
    for run in confirmation.get_trials(deepcopy=False):
        number, seed = (run.params.get(name) for name in PARAMETERS)
        if number in found and run.state == TrialState.COMPLETE:
            found[number].values[seed] = run.value
        elif number in found and run.user_attrs.get(FAILURE) == DIVERGED:
            found[number].values[seed] = math.inf
    return sorted(found.values(), key=lambda setting: setting.mean)


def build_confirmation_table(confirmed: Sequence[Confirmed], objective: str) -> Table:
    """Return a table of the best settings: their score in the search, and on fresh seeds."""
    label, rows = score_label(objective), []
    for setting in confirmed:
        values = [value for value in setting.values.values() if math.isfinite(value)]
        spread = f" ± {format_score(objective, statistics.stdev(values))}" if len(values) > 1 else ""
        low, high = (format_score(objective, bound) if math.isfinite(bound) else "" for bound in setting.interval)
        rows.append(
            [
                str(setting.trial.number),
                format_score(objective, setting.trial.value),
                f"{format_score(objective, statistics.fmean(values))}{spread}" if values else "",
                f"{low} to {high}" if low else "",
                str(len(setting.values)),
                str(len(setting.values) - len(values)),
            ]
        )
    heads = ["trial", "in the search", "on fresh seeds", "95% interval", "n", "diverged"]
    heads, *rows = [row if any(line[-1] != "0" for line in rows) else row[:-1] for row in (heads, *rows)]
    table = Table(title=f"{label} of the best settings")
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(*row)
    return table
