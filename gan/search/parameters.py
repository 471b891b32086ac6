"""The parameters of a search: read from overrides, drawn for a trial, and refused where they compare unlike scores."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

# no public name; a search file must mean the same here and to hydra/sweeper=optuna
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from gan.errors import InputError

# a parameter that changes one of these keys changes what the scores of a study mean
MEANING = ("objective", "second_objective", "metrics.", "data._target_", "data.dataset", "data.root")
MEANING += ("data.image_size", "data.channels")

Parameters = dict[str, BaseDistribution]


def parse_parameters(words: Iterable[str]) -> tuple[Parameters, dict[str, str]]:
    """Return the parameters and the fixed overrides by key; of a key's overrides the last counts."""
    last = {override.get_key_element(): override for override in OverridesParser.create().parse_overrides([*words])}
    try:
        parameters = create_params_from_overrides([override.input_line for override in last.values()])[0]
    except (AssertionError, ValueError, NotImplementedError) as error:
        raise InputError(f"a parameter of the search: {error}") from error
    return parameters, {name: override.input_line for name, override in last.items() if name not in parameters}


def format_overrides(values: dict[str, Any]) -> list[str]:
    """Return values as overrides."""
    return [f"{name}={value}" for name, value in values.items()]


def replace_seed(words: Iterable[str], seed: int) -> list[str]:
    """Return overrides with another seed."""
    return [*(word for word in words if not word.startswith("seed=")), f"seed={seed}"]


def list_ends(part: BaseDistribution) -> list[Any]:
    """Return values of a parameter: all of a choice, the ends of a range; one where there is no other."""
    if isinstance(part, CategoricalDistribution):
        return [*part.choices]
    return [part.low] if part.single() else [part.low, part.high]


def list_values(name: str, part: BaseDistribution) -> list[Any]:
    """Return all values of a parameter; raise InputError for one that has no steps."""
    if isinstance(part, CategoricalDistribution):
        return [*part.choices]
    if isinstance(part, IntDistribution):
        return [*range(part.low, part.high + 1, part.step)]
    if isinstance(part, FloatDistribution) and part.step is not None:
        low, high, step = (Decimal(str(number)) for number in (part.low, part.high, part.step))
        return [float(low + i * step) for i in range(int((high - low) / step) + 1)]
    raise InputError(f"{name}: {part} has no steps; a grid needs choice(...) or range(...)")


def suggest(trial: Trial, name: str, part: BaseDistribution) -> Any:
    """Return the value of a parameter that a trial draws."""
    if isinstance(part, CategoricalDistribution):
        return trial.suggest_categorical(name, part.choices)
    if isinstance(part, IntDistribution):
        return trial.suggest_int(name, part.low, part.high, step=part.step, log=part.log)
    return trial.suggest_float(name, part.low, part.high, step=part.step, log=part.log)


def require_same_meaning(name: str, changed: Iterable[str]) -> None:
    """Raise InputError for a parameter that changes what the values of a study mean, by the keys that it changes."""
    found = next((key for key in sorted(changed) if key.startswith(MEANING)), None)
    if found:
        raise InputError(
            f"{name}: changes {found}, and the scores of one study must mean the same; compare such runs by -m, or "
            "give each its own study"
        )
