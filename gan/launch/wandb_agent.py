"""Translates W&B sweeps for Hydra: an agent's parameters to overrides, and a sweep file to a multirun."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gan.errors import InputError
from gan.run.command_line import quote_value
from gan.run.untrusted import require_parameter

RUNS = 50  # of a search without a run_cap
SAMPLERS = {"random": "random", "bayes": "tpe"}
COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")  # W&B's own, of a file without one
METRIC = re.compile(r"(fid|fid_\d+k?|kid|mode_kl|reverse_kl)(_best)?")  # what train.py can return


def quote_parameters(fixed: list[str], given: dict[str, Any]) -> list[str]:
    """Return parameters as overrides, unchecked."""
    return [f"{name}={quote_value(value)}" for name, value in given.items()]


def find_first_overrides(run_id: str, outputs: Path) -> list[str] | None:
    """Return the overrides with which a run was first started, None for a new run."""
    found = sorted(outputs.glob(f"*/{run_id}/.hydra/overrides.yaml"))
    return yaml.safe_load(found[0].read_text(encoding="utf-8")) if found else None


def translate_parameters(
    arguments: list[str],
    run_id: str | None,
    outputs: Path,
    check: Callable[[list[str], dict[str, Any]], list[str]] = quote_parameters,
) -> list[str]:
    """Return train.py's overrides for an agent's arguments: fixed overrides, then the parameters as JSON.

    `check` turns the fixed overrides and a new run's parameters into overrides; it may raise InputError.
    """
    *fixed, parameters = arguments
    before = find_first_overrides(run_id, outputs) if run_id else None
    chosen = json.loads(parameters)
    for name, value in chosen.items():
        require_parameter(name, value)
    return before or [*fixed, *check(fixed, chosen), "ckpt_path=last"]


def flatten_parameters(parameters: dict[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """Return a sweep's parameters by dotted key."""
    if not isinstance(parameters, dict) or not all(isinstance(part, dict) for part in parameters.values()):
        raise InputError(f"parameters{'.' + above if above else ''}: must be a mapping of names to values, min and max")
    found = {}
    for name, part in parameters.items():
        key = f"{above}.{name}" if above else str(name)
        found |= flatten_parameters(part["parameters"], key) if "parameters" in part else {key: part}
    return found


def translate_parameter(name: str, parameter: dict[str, Any]) -> str:
    """Return a parameter's values or distribution in the grammar of Hydra's sweeps; raise InputError for any other."""
    if values := read_values(name, parameter):
        return f"choice({','.join(map(quote_value, values))})" if "values" in parameter else quote_value(values[0])
    low, high = read_number(name, parameter, "min"), read_number(name, parameter, "max")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = parameter.get("distribution", "int_uniform" if whole else "uniform")
    if kind == "int_uniform" and low == int(low) and high == int(high):
        return f"range({int(low)},{int(high) + 1})"
    spaces = {  # of floats, whatever the ends look like
        "uniform": f"interval({float(low)!r},{float(high)!r})",
        "log_uniform_values": f"tag(log,interval({float(low)!r},{float(high)!r}))",
    }
    if kind not in spaces:
        allowed = ", ".join(["int_uniform", *spaces])
        raise InputError(f"{name}: distribution {kind} has no Hydra equivalent; use {allowed} or values")
    return spaces[kind]


def read_values(name: str, parameter: dict[str, Any]) -> list[Any]:
    """Return the values that a parameter lists, none for a distribution; raise InputError for weighted values."""
    if "value" in parameter:
        return [parameter["value"]]
    if "probabilities" in parameter:
        raise InputError(f"{name}: probabilities have no Hydra equivalent; leave them out")
    if "values" in parameter and not (isinstance(parameter["values"], list) and parameter["values"]):
        raise InputError(f"{name}: values must be a list that is not empty")
    return parameter.get("values", [])


def read_number(name: str, parameter: dict[str, Any], end: str) -> float:
    """Return the limit `end`, min or max, of a distribution; raise InputError if it has none."""
    value = parameter.get(end)
    try:
        number = value if isinstance(value, int) and not isinstance(value, bool) else float(value)
        if math.isfinite(number):
            return number
    except (TypeError, ValueError):
        pass
    kind = parameter.get("distribution")
    shown = f"distribution {kind} has no Hydra equivalent" if kind and value is None else f"{end}={value}"
    raise InputError(f"{name}: {shown}; give value, values, or min and max as numbers")


def read_grid_values(name: str, parameter: dict[str, Any]) -> list[Any]:
    """Return the values of a grid's parameter, which may be given as whole numbers min and max."""
    if values := read_values(name, parameter):
        return values
    low, high = read_number(name, parameter, "min"), read_number(name, parameter, "max")
    kind = parameter.get("distribution", "int_uniform")
    if kind != "int_uniform" or not (isinstance(low, int) and isinstance(high, int)):
        raise InputError(f"{name}: a grid needs values, or whole numbers as min and max")
    return [*range(low, high + 1)]


def read_objective(sweep: dict[str, Any]) -> str | None:
    """Return the objective that a sweep's metric asks for, None for the config's own.

    Raises InputError for a metric that train.py does not return, and for one to be maximized.
    """
    metric = sweep.get("metric") or {}
    name, goal = str(metric.get("name", "fid")), metric.get("goal", "minimize")
    if not METRIC.fullmatch(name):
        raise InputError(
            f"metric.name={name}: a search without a server minimizes fid (fid_2k, ...), kid, mode_kl or reverse_kl, "
            "or their _best"
        )
    if goal != "minimize":
        raise InputError(f"metric.goal={goal}: {name} is a distance, better where it is smaller; use goal: minimize")
    objective = name.removesuffix("_best")
    return None if objective == "fid" else objective


def translate_sweep(name: str, sweep: Any) -> list[str]:
    """Return train.py's arguments for a sweep file's content: Hydra's own sweep for a grid, else a study called `name`.

    Raises InputError for anything without an equivalent.
    """
    if not isinstance(sweep, dict):
        raise InputError("is no sweep: must have method and parameters")
    for key in ("method", "parameters"):
        if not sweep.get(key):
            raise InputError(f"{key}: is missing")
    command, method, objective = sweep.get("command", COMMAND), sweep["method"], read_objective(sweep)
    if method not in ("grid", *SAMPLERS):
        raise InputError(f"method={method}: must be one of {', '.join(['grid', *SAMPLERS])}")
    fixed = [word for word in map(str, command) if "=" in word]
    if objective and not any(word.startswith("objective=") for word in fixed):
        fixed.append(f"objective={objective}")
    parameters = flatten_parameters(sweep["parameters"])
    if method == "grid":
        grid = {key: read_grid_values(key, part) for key, part in parameters.items()}
        return ["-m", *fixed, *(f"{key}={','.join(map(quote_value, values))}" for key, values in grid.items())]
    search = ["hydra/sweeper=study", f"hydra/sweeper/sampler={SAMPLERS[method]}", *translate_pruning(sweep)]
    search += [f"hydra.sweeper.study_name={name}", f"hydra.sweep.dir=multirun/{name}", "callbacks=search"]
    search += [f"hydra.sweeper.n_trials={sweep.get('run_cap', RUNS)}"]
    if "seed" in parameters:  # whose runs can't be confirmed on other seeds
        search += ["hydra.sweeper.confirm=0"]
    return ["-m", *search, *fixed, *(f"{key}={translate_parameter(key, part)}" for key, part in parameters.items())]


def translate_pruning(sweep: dict[str, Any]) -> list[str]:
    """Return the pruner for a sweep's early termination; raise InputError for any but Hyperband."""
    rule = sweep.get("early_terminate")
    if not rule:
        return ["hydra/sweeper/pruner=none"]
    if rule.get("type") != "hyperband":
        raise InputError(f"early_terminate.type={rule.get('type')}: must be hyperband")
    eta = [f"hydra.sweeper.pruner.reduction_factor={rule['eta']}"] if "eta" in rule else []
    return ["hydra/sweeper/pruner=hyperband", *eta]
