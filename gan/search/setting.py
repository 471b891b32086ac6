"""The setting of a study: what all its trials share. A command can only add trials of the same setting."""

import json
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.trial import TrialState

from gan.errors import InputError
from gan.run.cell import BUDGETS, is_incidental, is_neutral
from gan.run.command_line import list_replaced_keys
from gan.search.space import Space
from gan.search.trials import CONFIRMS, get_history, is_counted

SETTING = "setting"  # a study's user attribute
N_SEEDS = "hydra.sweeper.n_seeds"  # a key of a setting
REMEDY = "give this search a hydra.sweeper.study_name of its own"

ELSEWHERE = ("data_dir=DATA_DIR", "cache_dir=null")  # in place of paths that differ between machines
SHARED = ("seed", "data.root", "second_objective")  # they may differ within a cell, but not within a study


def collect_setting(space: Space) -> dict[str, Any]:
    """Return what a search's trials share: all that is built, with seed and data, and the names of its parameters."""
    shared = space.describe(*ELSEWHERE)
    acting = {name: value for name, value in sorted(shared.items()) if not is_neutral(name, value)}
    setting = {name: value for name, value in acting.items() if name in SHARED or not is_incidental(name)}
    return json.loads(json.dumps(setting, default=str))


def list_budget(study: optuna.Study, words: Iterable[str]) -> list[str]:
    """Return the override of the budget that a search's file sets, none where a trial's overrides set a length."""
    replaced = list_replaced_keys(words)
    known = study.user_attrs.get(SETTING, {})
    return [f"{name}={known[name]}" for name in BUDGETS if name in known and name not in replaced]


def adopt_setting(study: optuna.Study, setting: dict[str, Any]) -> bool:
    """Store a setting in a study without one, or without a result; return whether the study already had it.

    Raises InputError, with what differs, where the study has results of another setting.
    """
    known = study.user_attrs.get(SETTING)
    if known == setting:
        return True
    if known is not None and any(has_begun(trial) for trial in study.get_trials(deepcopy=False)):
        names = [name for name in known.keys() | setting.keys() if format_key(name, known) != format_key(name, setting)]
        shown, *others = sorted(names, key=lambda name: (name != "parameters", name not in known, name))
        more = f" (also {', '.join(others)})" if others else ""
        raise InputError(
            f"{format_key(shown, setting)}{more}: the study {study.study_name} has trials with "
            f"{format_key(shown, known)}; {REMEDY}"
        )
    study.set_user_attr(SETTING, setting)
    return False


def compares_seeds(study: optuna.Study) -> bool:
    """Return whether a study compares its trials seed by seed, not step by step."""
    return bool({N_SEEDS, CONFIRMS} & study.user_attrs.get(SETTING, {}).keys())


def has_begun(trial: optuna.trial.FrozenTrial) -> bool:
    """Return whether a trial was started with its study's setting: it counts, or waits to be tried again."""
    return is_counted(trial) or (trial.state == TrialState.WAITING and bool(get_history(trial)))


def format_key(name: str, setting: dict[str, Any]) -> str:
    """Return a key and its value as they are typed, or "no KEY" for a key that is absent."""
    value = setting.get(name)
    text = "null" if value is None else ", ".join(value) if name == "parameters" else str(value)
    return f"{name}={text}" if name in setting else f"no {name}"
