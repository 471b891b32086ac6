"""Checks a multirun's keys before its first run: each must change something in what is built."""

from collections.abc import Container
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gan.errors import InputError, exit_in_one_line
from gan.run.effects import Compose, dead_key_error, describe_build, differing_keys


class SweptKeys(Callback):
    """Ends a multirun before its first run where a swept key changes nothing; studies check their own parameters."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.runtime.choices["hydra/sweeper"] != "basic":
            return
        loader = GlobalHydra.instance().config_loader()
        with exit_in_one_line():
            require_effects(
                read_alternatives(config),
                lambda words: loader.load_sweep_config(config, words),
                groups=config.hydra.runtime.choices,
            )


def read_alternatives(config: DictConfig) -> dict[str, list[str]]:
    """Return the overrides of each key of a multirun, from the sweeper's `params` and the command line, which wins."""
    words = [f"{name}={value}" for name, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    found = {}
    for override in parser.parse_overrides([*words, *config.hydra.overrides.task]):
        swept = override.is_sweep_override() and override.is_discrete_sweep()
        key = override.get_key_element()
        found[key] = [f"{key}={each}" for each in override.sweep_string_iterator()] if swept else [override.input_line]
    return found


def require_effects(alternatives: dict[str, list[str]], compose: Compose, *, groups: Container[str]) -> None:
    """Raise InputError for a key whose overrides all build the same, with any option of the other swept groups.

    Overrides that do not compose are left to Hydra, whose messages are better.
    """
    first = {key: words[0] for key, words in alternatives.items()}
    varied = {key: words for key, words in alternatives.items() if len(words) > 1}
    for key, words in varied.items():
        others = [
            first | {group: word} for group in varied if group in groups and group != key for word in varied[group]
        ]
        if not any(has_effect(key, words, context, compose) for context in [first, *others]):
            raise dead_key_error(key)


def has_effect(key: str, words: list[str], context: dict[str, str], compose: Compose) -> bool:
    """Return whether a key's overrides build different things in the context of the other keys' overrides."""
    try:
        built, *others = (describe_build(compose([*(context | {key: word}).values()])) for word in words)
    except (HydraException, InputError):
        return True
    return any(differing_keys(built, other) for other in others)
