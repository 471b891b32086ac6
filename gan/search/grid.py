"""A grid's cells, each run once."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from gan.search.trials import is_counted


class CellSampler(BaseSampler):
    """Draws for each trial a cell, the values of its parameters, that no trial before it has.

    Optuna's GridSampler needs every parameter in every cell, and takes failed trials for done.
    """

    def __init__(self, cells: Sequence[dict[str, Any]]) -> None:
        self.cells = cells
        self.drawn: dict[int, dict[str, Any]] = {}  # cells by the number of this process's trials

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        others = [other for other in others if is_counted(other) or not other.state.is_finished()]
        taken = [other.params if other.params in self.cells else self.drawn.get(other.number) for other in others]
        free = [cell for cell in self.cells if cell not in taken] or self.cells
        # commands that ask at the same time have different numbers
        by_number = self.cells[trial.number] if trial.number < len(self.cells) else None
        self.drawn[trial.number] = by_number if by_number in free else free[trial.number % len(free)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.drawn[trial.number][param_name]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}
