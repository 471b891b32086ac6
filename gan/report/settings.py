"""Which settings of the runs differ, and how much of the differences in FID each explains."""

import math
from typing import Any

import optuna

from gan.run.record import Run

ENOUGH = 10  # runs, below which a forest has nothing to learn from
NONE = "–"  # noqa: RUF001, a setting that a run does not have


def varying(runs: list[Run]) -> dict[str, list[Any]]:
    """Return what differs between runs, a value for each run, without what follows from another setting.

    That is what the chosen model or loss decides alone, and what goes with a setting of a shorter name.
    """
    chosen = [{f"choices.{name}": run.config["choices"].get(name) for name in ("model", "loss")} for run in runs]
    told = [above | run.setting for above, run in zip(chosen, runs, strict=True)]
    names = sorted(set().union(*told), key=lambda name: (not name.startswith("choices."), name.count("."), name))
    kept: dict[str, list[Any]] = {}
    distinct = len({repr(sorted(setting.items())) for setting in told})
    for name in names:
        values = [plain(setting.get(name)) for setting in told]
        n = len(set(values))
        decided = any(follows(values, kept[above]) for above in kept if above.startswith("choices."))
        same = any(values == other or (n < distinct and together(values, other)) for other in kept.values())
        if n > 1 and not decided and not same:
            kept[name] = values
    return kept


def plain(value: Any) -> Any:
    """Return a setting's value as a number or a short text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return NONE if value is None else str(value)


def follows(values: list[Any], others: list[Any]) -> bool:
    """Whether each of the other values comes with one value only."""
    return len(set(zip(values, others, strict=True))) == len(set(others))


def together(values: list[Any], others: list[Any]) -> bool:
    """Whether two settings split the runs in the same way."""
    return follows(values, others) and follows(others, values)


def numeric(values: list[Any]) -> bool:
    """Whether all values are numbers."""
    return not any(isinstance(value, str) for value in values)


def logarithmic(values: list[Any]) -> bool:
    """Whether values are numbers over an order of magnitude or more."""
    return numeric(values) and min(values) > 0 and max(values) >= 10 * min(values)


def importance(settings: dict[str, list[Any]], fids: list[float]) -> dict[str, float]:
    """Return the share of log FID's variance that each setting explains alone, by fANOVA (Hutter et al. 2014)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scales = {name: scale(values) for name, values in settings.items()}
    study = optuna.create_study()
    for i, fid in enumerate(fids):
        told = {name: values[i] for name, values in settings.items()}
        study.add_trial(optuna.trial.create_trial(params=told, distributions=scales, value=math.log(max(fid, 1e-9))))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def scale(values: list[Any]) -> optuna.distributions.BaseDistribution:
    """Return the space that a setting's values came from."""
    if numeric(values):
        return optuna.distributions.FloatDistribution(min(values), max(values), log=logarithmic(values))
    return optuna.distributions.CategoricalDistribution(sorted(set(values), key=str))


def named(name: str) -> str:
    """Return a setting's name as people write it on a command line."""
    return name.removeprefix("choices.").removesuffix("._target_")


def written(name: str, value: Any) -> str:
    """Return a setting's value as text, a class by its name alone."""
    return f"{value:g}" if not isinstance(value, str) else value.rpartition(".")[2] if "_target_" in name else value
