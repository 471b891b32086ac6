"""A grid's cells, each run once."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from gan.search.trials import counts

CELL = "cell"  # a trial's system attribute: the number of its cell


class CellSampler(BaseSampler):
    """Gives each trial a cell, the values of its parameters, that no trial before it has.

    Optuna's GridSampler needs every parameter in every cell, and takes failed trials for done.
    """

    def __init__(self, cells: Sequence[dict[str, Any]]) -> None:
        self.cells = cells

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if CELL in trial.system_attrs or "fixed_params" in trial.system_attrs:  # tried again; queued by hand
            return
        others = (other for other in study.get_trials(deepcopy=False) if other.number != trial.number)
        taken = {other.system_attrs.get(CELL) for other in others if counts(other) or not other.state.is_finished()}
        free = [cell for cell in range(len(self.cells)) if cell not in taken] or [*range(len(self.cells))]
        # commands that ask at the same time have different numbers
        cell = trial.number if trial.number in free else free[trial.number % len(free)]
        study._storage.set_trial_system_attr(trial._trial_id, CELL, cell)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.cells[trial.system_attrs[CELL]][param_name]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}
