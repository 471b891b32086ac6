"""The parameters and fixed overrides of a search, and which of them exist for the choices that a trial has drawn."""

import itertools
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from hydra.errors import HydraException
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution
from optuna.trial import Trial

from gan.errors import InputError
from gan.run.effects import Compose, dead_key_error, describe_build, differing_keys, has_key, to_input_error
from gan.search.parameters import (
    format_overrides,
    list_ends,
    list_values,
    parse_parameters,
    require_same_meaning,
    suggest,
)

TRIED = 200  # combinations of choices that are searched before a parameter counts as without effect


class Setting(NamedTuple):
    """For one combination of choices: the fixed overrides that exist, and the keys that each parameter changes."""

    words: list[str]
    changed: dict[str, set[str]]


class Space:
    """The overrides of a search: parameters to draw, and fixed ones that all trials share; the last of a key counts.

    A trial draws its config groups first, then the parameters that exist for them and change what is built: R1's gamma
    is left out where `penalty=none` was drawn. Fixed overrides are left out by the same rule. `groups` names all config
    groups.
    Raises InputError for overrides that fit no combination of choices, and for parameters without effect in any.
    """

    def __init__(self, words: Iterable[str], compose: Compose, *, groups: Container[str]) -> None:
        self.compose_config = compose
        self.settings: dict[tuple[Any, ...], Setting] = {}
        self.parameters, self.fixed = parse_parameters(words)
        self.groups = [name for name in self.parameters if name in groups]
        self.others = [name for name in self.parameters if name not in groups]
        self.always = [word for name, word in self.fixed.items() if name.startswith(("+", "~")) or name in groups]
        self.check_groups()
        self.check_others()

    def compose(self, words: list[str]) -> DictConfig:
        """Return a run's config with its hydra node; raise InputError where the overrides don't fit."""
        try:
            return self.compose_config(words)
        except HydraException as error:
            raise to_input_error(error) from error

    def build(self, values: dict[str, Any], words: list[str]) -> dict[str, Any]:
        """Return what parameters' values and fixed overrides build."""
        return describe_build(self.compose([*words, *format_overrides(values)]))

    def get_setting(self, chosen: dict[str, Any]) -> Setting:
        """Return what exists for a choice of each config group."""
        key = tuple(chosen.values())
        if key not in self.settings:
            self.settings[key] = self.find_setting(chosen)
        return self.settings[key]

    def find_setting(self, chosen: dict[str, Any]) -> Setting:
        base = self.compose([*self.always, *format_overrides(chosen)])
        words = [word for name, word in self.fixed.items() if word in self.always or has_key(base, name)]
        ends = {n: list_ends(self.parameters[n]) for n in self.others if n.startswith("+") or has_key(base, n)}
        values = chosen | {name: first for name, (first, *_) in ends.items()}
        built, changed = self.build(values, words), {}
        for name, (_, *others) in ends.items():
            found = (differing_keys(built, self.build(values | {name: other}, words)) for other in others)
            changed[name] = next(filter(None, found), None) or set()
            require_same_meaning(name, changed[name])
            if others and not changed[name]:
                del changed[name]
        return Setting(words, changed)

    def draw_overrides(self, trial: Trial) -> list[str]:
        """Draw a trial's parameters and return its overrides."""
        chosen = {name: suggest(trial, name, self.parameters[name]) for name in self.groups}
        words, names = self.get_setting(chosen)
        others = {name: suggest(trial, name, self.parameters[name]) for name in names}
        return [*format_overrides(chosen | others), *words]

    def list_overrides(self, values: dict[str, Any]) -> list[str]:
        """Return the overrides of a trial that has drawn these values."""
        chosen = {name: values[name] for name in self.groups if name in values}
        return [*format_overrides(values), *self.get_setting(self.choose_first() | chosen).words]

    def iterate_choices(self) -> Iterator[dict[str, Any]]:
        """Yield each combination of the groups' choices."""
        choices = (self.parameters[name].choices for name in self.groups)
        return (dict(zip(self.groups, each, strict=True)) for each in itertools.product(*choices))

    def iterate_neighbors(self) -> Iterator[dict[str, Any]]:
        """Yield combinations of the groups' choices: the first, those that differ from it in one group, then others."""
        first = self.choose_first()
        yield first
        for name in self.groups:
            yield from (first | {name: choice} for choice in self.parameters[name].choices[1:])
        yield from itertools.islice(self.iterate_choices(), TRIED)

    def choose_first(self) -> dict[str, Any]:
        """Return the first choice of each group."""
        return {name: self.parameters[name].choices[0] for name in self.groups}

    def check_groups(self) -> None:
        """Raise InputError for a group whose choices all build the same, and for a range given to a group."""
        for name in self.groups:
            if not isinstance(self.parameters[name], CategoricalDistribution):
                raise InputError(f"{name}: is a config group; give its options as choice(...)")
        for name in self.groups:
            choices = self.parameters[name].choices
            if len(choices) > 1 and not any(self.compare_choices(name, chosen) for chosen in self.iterate_neighbors()):
                raise dead_key_error(name)

    def compare_choices(self, name: str, chosen: dict[str, Any]) -> set[str]:
        """Return the keys in which a group's choices differ, given the choices of the other groups."""
        first, *others = ({**chosen, name: choice} for choice in self.parameters[name].choices)
        built = self.build(first, self.always)
        found = next(filter(None, (differing_keys(built, self.build(other, self.always)) for other in others)), set())
        require_same_meaning(name, found)
        return found

    def check_others(self) -> None:
        """Raise InputError for a parameter or fixed override without effect for all choices of the groups."""
        dead, unused = {*self.others}, {*self.fixed}
        for chosen in self.iterate_neighbors():
            words, names = self.get_setting(chosen)
            dead -= {*names}
            unused = {name for name in unused if self.fixed[name] not in words}
            if not dead and not unused:
                return
        for name in (name for name in self.fixed if name in unused):
            self.compose(
                [*self.always, *format_overrides(self.choose_first()), self.fixed[name]]
            )  # raises, with what may have been meant
        for name in (name for name in self.others if name in dead):
            self.compose(
                [*self.always, *format_overrides(self.choose_first() | {name: list_ends(self.parameters[name])[0]})]
            )
            raise dead_key_error(name)

    def list_cells(self) -> list[dict[str, Any]]:
        """Return the values of each distinct trial of a grid; raise InputError for a parameter without steps."""
        values = {name: list_values(name, part) for name, part in self.parameters.items()}
        found = []
        for chosen in self.iterate_choices():
            names = [*self.get_setting(chosen).changed]
            found += [chosen | dict(zip(names, row, strict=True)) for row in itertools.product(*map(values.get, names))]
        return found

    def describe(self, *incidental: str) -> dict[str, Any]:
        """Return what all trials share: what is built beside the parameters, and the names of these.

        Groups are at their first choice; the overrides `incidental` replace paths that may differ between machines.
        """
        words, changed = self.get_setting(self.choose_first())
        values = self.choose_first() | {name: list_ends(self.parameters[name])[0] for name in changed}
        built = self.build(values, [*words, *incidental])
        varied = {*itertools.chain(*changed.values())}
        absent = {name: word for name, word in self.fixed.items() if word not in words}
        shared = {name: value for name, value in built.items() if name not in varied}
        return shared | absent | {"parameters": sorted(self.parameters)}
