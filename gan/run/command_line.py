"""train.py's arguments before Hydra reads them: home folders, searches, and resumed runs."""

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gan.errors import InputError
from gan.run.cell import BUDGETS, LENGTHS
from gan.run.untrusted import is_setting, load_plain
from gan.system.run_folder import CONFIG, LAST

OVERRIDES = "overrides"  # key of a run's config: the arguments that it was started with
UNSET = (None, "", "null")
BUDGET_KEYS = ("budget", *BUDGETS)
# first parts of keys that say which run of a cell it is, where its files are, and what starts and logs it
STARTING = ("seed", "run_dir", "data_dir", "cache_dir", "ckpt_path", "resume")
STARTING += ("hydra", "hparams_search", "callbacks", "logger", "second_objective")


def complete_command() -> None:
    """Complete sys.argv, from which alone Hydra takes its arguments, and have Hydra raise errors, not print them."""
    sys.argv[1:] = complete_arguments(sys.argv[1:])
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")


def complete_arguments(words: list[str]) -> list[str]:
    """Return the arguments for Hydra; raise InputError for a resume that is not possible, and for two lengths."""
    given = {get_key(word): word.partition("=")[2] for word in words}
    given = {key: value for key, value in given.items() if value not in (*UNSET, "-1")}
    require_one_length(*({key: given[key] for key in keys if key in given} for keys in (BUDGET_KEYS, LENGTHS)))
    words = repeat_first_overrides([expand_home(word) for word in words])
    options = {word.partition("=")[0] for word in words}
    if "hparams_search" in options and not options & {"-m", "--multirun", "-c", "--cfg", "-i", "--info"}:
        words.append("--multirun")  # a config can't set Hydra's mode
    return words


def expand_home(word: str) -> str:
    """Return an override with ~ at the start of its value expanded; shells do so at the start of a word only."""
    key, sign, value = word.partition("=")
    return key + sign + os.path.expanduser(value) if value == "~" or value.startswith("~/") else word


def repeat_first_overrides(words: list[str]) -> list[str]:
    """Return the arguments of a command that resumes a run, after those that the run was started with.

    `resume=DIR`, and `ckpt_path=` with last.ckpt in a run's folder, continue that run in its folder. Another checkpoint
    starts a new run from it with the same settings. Later overrides replace the first command's.
    Raises InputError for a folder without a run.
    """
    given = {get_key(word): word.partition("=")[2].strip("'\"") for word in words if "=" in word}
    folder, path = given.get("resume"), given.get("ckpt_path")
    if folder in UNSET and path in (*UNSET, "last"):
        return words
    if {"-m", "--multirun", "hparams_search"} & {*words, *given}:
        raise InputError("resume, ckpt_path: can't be combined with --multirun; resume each run on its own")
    if folder and path:
        raise InputError(f"resume={folder}: can't be combined with ckpt_path={path}; leave one of them out")
    run_dir = Path(folder).expanduser() if folder else Path(path).expanduser().parent.parent
    recorded = read_config(run_dir)
    if recorded is None:
        if not folder:
            return words  # prepare_start raises a better error
        raise InputError(f"resume={folder}: not a run's folder: {run_dir / CONFIG} is missing")
    continues = folder is not None or Path(path).name == Path(LAST).name
    if continues and not (run_dir / LAST).is_file():
        raise InputError(f"resume={folder}: {run_dir / LAST} is missing; the run ended before its first checkpoint")
    if continues and "hydra.run.dir" in given:
        raise InputError(f"hydra.run.dir={given['hydra.run.dir']}: a resumed run stays in {run_dir}; leave it out")
    own = [word for word in words if get_key(word) not in ("resume", "ckpt_path")] if continues else words
    strange = [word for word in recorded.get(OVERRIDES, []) if not is_setting(word.partition("=")[0])]
    if strange:
        raise InputError(
            f"{run_dir / CONFIG}: {strange[0]} is not a key of a run's config, and is not repeated; remove it there"
        )
    replaced = list_replaced_keys(own) | {"seed", "hparams_search", "run_dir"}
    first = [word for word in recorded.get(OVERRIDES, []) if get_key(word) not in replaced]
    first += [] if "seed" in given else [f"seed={recorded['seed']}"]
    first = first if replaced & {*BUDGET_KEYS} else restate_budget(first, recorded)
    place = ["ckpt_path=last", f"hydra.run.dir={quote_value(str(run_dir))}"] if continues else []
    return [*first, *own, *place]


def list_setting_overrides(config: dict[str, Any]) -> list[str]:
    """Return the overrides that give a run's cell, without those of its seed, paths, launcher, logger and study."""
    words = [word for word in config.get(OVERRIDES) or [] if re.split("[./]", get_key(word))[0] not in STARTING]
    return restate_budget(words, config)


def restate_budget(words: list[str], config: dict[str, Any]) -> list[str]:
    """Return overrides with the budget that a run's config records: it may be that of a search."""
    words = [word for word in words if get_key(word) not in BUDGET_KEYS]
    budget = config.get("budget") or {}
    return words + [f"budget.{unit}={amount}" for unit, amount in budget.items() if amount is not None]


def list_replaced_keys(words: Iterable[str]) -> set[str]:
    """Return the keys that overrides replace in earlier ones: their own, and the others that set a run's length."""
    keys = {get_key(word) for word in words}
    if keys & {*BUDGET_KEYS}:
        return keys | {*BUDGET_KEYS, *LENGTHS}
    return keys | {*BUDGET_KEYS} if keys & {*LENGTHS} else keys


def require_one_length(budgets: dict[str, Any], lengths: dict[str, Any]) -> None:
    """Raise InputError where several of these keys, or a budget and trainer keys, set the length of a run."""
    if len(budgets) > 1 or (budgets and lengths):
        shown = ", ".join(f"{key}={value}" for key, value in (budgets | lengths).items())
        raise InputError(f"{shown}: each of them sets the length of the run; use only one of them")


def get_key(word: str) -> str:
    """Return the key of an override, without Hydra's + and ~ in front."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def read_config(run_dir: Path) -> dict[str, Any] | None:
    """Return the config in a run's folder, None if there is none."""
    path = run_dir / CONFIG
    return OmegaConf.to_container(load_plain(path)) if path.is_file() else None


def quote_value(value: Any) -> str:
    """Return a value, quoted where necessary, in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{quote_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(quote_value, value)) + "]"
    if isinstance(value, str) and not value.replace("_", "").replace("-", "").isalnum():
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)
