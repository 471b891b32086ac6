"""Checks the parameters that a W&B agent gives one run of a sweep: they must exist, and change something."""

from collections.abc import Callable
from typing import Any

from hydra.errors import HydraException

from gan.launch.swept_keys import require_effects
from gan.run.command_line import quote_value
from gan.run.effects import Compose, has_key, to_input_error


def select_overrides(
    fixed: list[str], given: dict[str, Any], compose: Compose, list_options: Callable[[str], list[str]]
) -> list[str]:
    """Return a run's parameters as overrides, without those that exist for other choices of its config groups only.

    `list_options` returns the options of a config group, an empty list for another key. The sweep's other values are
    unknown here, so a parameter is compared with an invented value of the same type.
    Raises InputError for a parameter that exists for no choices, or changes nothing in what is built for any.
    """
    words = {name: f"{name}={quote_value(value)}" for name, value in given.items()}
    options = {name: [f"{name}={option}" for option in list_options(name)] for name in given}
    groups = {name: words[name] for name in words if options[name]}
    chosen = [*fixed, *groups.values()]
    try:
        base = compose(chosen)
        absent = {name for name in words if not (name in groups or name.startswith("+") or has_key(base, name))}
        for name in absent:
            others = [word for group in groups for word in options[group]]
            if not any(key_exists(name, [*chosen, other], compose) for other in others):
                compose([*chosen, words[name]])  # raises, with what may have been meant
    except HydraException as error:
        raise to_input_error(error) from error
    alternatives = {word: [word] for word in fixed}
    for name in words.keys() - absent:
        alternatives[name] = [words[name], *(options[name] or [f"{name}={quote_value(invent_other(given[name]))}"])]
    require_effects(alternatives, compose, groups=groups)
    return [word for name, word in words.items() if name not in absent]


def key_exists(name: str, words: list[str], compose: Compose) -> bool:
    """Return whether a key is in the config that these overrides compose."""
    try:
        return has_key(compose(words), name)
    except HydraException:
        return False


def invent_other(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 2 * value + 1
    if isinstance(value, list):
        return [*value, 0]
    if isinstance(value, dict):
        return value | {"other": 0}
    return 1 if value is None else f"{value}_other"
