"""Settings that differ between runs, and the share of the variance of FID that each explains."""

import math
from typing import Any

import optuna

from gan.run.command_line import OVERRIDES, get_key
from gan.run.record import Run

FEWEST_RUNS = 10  # with fewer, the random forest of fANOVA has too little to learn from
NONE = "–"  # noqa: RUF001, for a setting that a run does not have


def find_varying_settings(runs: list[Run]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, each with one value per run, in the order of the runs.

    Left out are settings that follow from others: those that the model, the loss or both together decide, and, of
    several that split the runs in the same way, all but the first: typed settings come first, then shorter names.
    """
    typed = {get_key(word) for run in runs for word in run.config.get(OVERRIDES) or []}
    chosen = [{f"choices.{name}": run.config["choices"].get(name) for name in ("model", "loss")} for run in runs]
    settings = [above | run.setting for above, run in zip(chosen, runs, strict=True)]
    order = {n: (not n.startswith("choices."), n not in typed, n.count("."), n) for n in set().union(*settings)}
    names = sorted(order, key=order.get)
    varying: dict[str, list[Any]] = {}
    distinct = len({repr(sorted(setting.items())) for setting in settings})
    for name in names:
        values = [simplify_value(setting.get(name)) for setting in settings]
        n = len(set(values))
        choices = [*zip(*(varying[above] for above in varying if above.startswith("choices.")), strict=True)]
        decided = bool(choices) and follows(values, choices)
        same = any(values == other or (n < distinct and split_alike(values, other)) for other in varying.values())
        if n > 1 and not decided and not same:
            varying[name] = values
    return varying


def simplify_value(value: Any) -> Any:
    """Return a setting's value as a number or as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return NONE if value is None else str(value)


def follows(values: list[Any], others: list[Any]) -> bool:
    """Whether the others decide the values: each of them occurs with one value only."""
    return len(set(zip(values, others, strict=True))) == len(set(others))


def split_alike(values: list[Any], others: list[Any]) -> bool:
    """Whether two settings split the runs in the same way."""
    return follows(values, others) and follows(others, values)


def is_numeric(values: list[Any]) -> bool:
    """Whether all values are numbers."""
    return not any(isinstance(value, str) for value in values)


def is_logarithmic(values: list[Any]) -> bool:
    """Whether values are positive numbers that span an order of magnitude or more."""
    return is_numeric(values) and min(values) > 0 and max(values) >= 10 * min(values)


def compute_importance(settings: dict[str, list[Any]], fids: list[float]) -> dict[str, float]:
    """Return the share (0 to 1) of the variance of log FID that each setting explains alone, largest first.

    `settings` has a list of values per setting, one for each of `fids`. By fANOVA: Hutter et al. 2014, "An Efficient
    Approach for Assessing Hyperparameter Importance".
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {name: build_distribution(values) for name, values in settings.items()}
    study = optuna.create_study()
    for i, fid in enumerate(fids):
        params = {name: values[i] for name, values in settings.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=math.log(max(fid, 1e-9))))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def build_distribution(values: list[Any]) -> optuna.distributions.BaseDistribution:
    """Return the search space that a setting's values span, as fANOVA needs it."""
    if is_numeric(values):
        return optuna.distributions.FloatDistribution(min(values), max(values), log=is_logarithmic(values))
    return optuna.distributions.CategoricalDistribution(sorted(set(values), key=str))


def format_setting_name(name: str) -> str:
    """Return a setting's key as it is typed on a command line: "choices.loss" as "loss"."""
    return name.removeprefix("choices.").removesuffix("._target_")


def format_setting_value(name: str, value: Any) -> str:
    """Return a setting's value as text, an import path by its last part."""
    return f"{value:g}" if not isinstance(value, str) else value.rpartition(".")[2] if "_target_" in name else value
