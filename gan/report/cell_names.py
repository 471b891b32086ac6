"""Short names of cells: the options and settings in which they differ, as they are typed on a command line."""

import re
from typing import Any

from gan.report.settings import NONE, find_varying_settings, split_alike
from gan.run.cell import CHOICES
from gan.run.command_line import OVERRIDES, get_key
from gan.run.record import Run

EMPTY = "{}"  # the value of a config group without settings
LONG_NUMBER = re.compile(r"\d+\.\d{4,}(?:e[-+]\d+)?")  # as a search draws them, in an option or in a list


def shorten_names(members: dict[str, list[Run]]) -> dict[str, str]:
    """Return short names of cells by label: "dcgan bce penalty=[r1,r2]", only what differs."""
    runs = [of_cell[0] for of_cell in members.values()]
    parts = [[get_choice(run, name) for run in runs] for name in CHOICES]
    columns = [values for values in parts if len(set(values)) > 1] + [
        [show_setting(key, value) for value in values] for key, values in name_options(runs).items()
    ]
    names = [" ".join(filter(None, words)) for words in zip(*columns, strict=True)] if columns else [""]
    groups = [str(run.config["choices"]["group"]) for run in runs]
    names = [name or group for name, group in zip(names, groups, strict=True)]
    return dict(zip(members, names if len({*names}) == len(names) else members, strict=True))


def name_options(runs: list[Run]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, except data, model and loss, with one value per run.

    All settings of a config group become one, if the options that the runs were started with tell them apart. A run
    that was started without one has that of a run with the same settings.
    """
    varying = {key: values for key, values in find_varying_settings(runs).items() if not key.startswith("choices.")}
    named: dict[str, list[Any]] = {}
    for key in varying:
        group = key.partition(".")[0]
        settings = [values for other, values in varying.items() if other.partition(".")[0] == group]
        together = list(zip(*settings, strict=True))
        typed = {part: option for part, run in zip(together, runs, strict=True) if (option := find_option(run, group))}
        options = [typed.get(part) for part in together]
        if None not in options and split_alike(together, options):
            named[group] = options
        else:
            named[key] = varying[key]
    return named


def get_choice(run: Run, group: str) -> str:
    """Return the option of a config group that a run used, "" if its config does not name it."""
    return str(run.config["choices"].get(group, ""))


def find_option(run: Run, group: str) -> str | None:
    """Return the option of a config group that a run was started with, None if its command names none."""
    given = [word.partition("=")[2] for word in run.config.get(OVERRIDES) or [] if get_key(word) == group]
    return given[-1] if given else None


def show_setting(key: str, value: Any) -> str:
    """Return a setting as text: its key by its last two parts, an import path by its last part, numbers in 3 digits."""
    if value in (NONE, EMPTY):
        return ""
    if key.endswith("._target_"):
        key, value = key.removesuffix("._target_"), str(value).rpartition(".")[2]
    shown = f"{value:.3g}" if isinstance(value, float) else str(value).replace(", ", ",")
    shown = LONG_NUMBER.sub(lambda number: f"{float(number[0]):.3g}", shown)
    return f"{'.'.join(key.split('.')[-2:])}={shown}"
