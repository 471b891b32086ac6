"""From a W&B sweep to Hydra: an agent's parameters as overrides, and a sweep file as a multirun."""

import json
from pathlib import Path
from typing import Any

import yaml

from gan.errors import InputError
from gan.trusted import require_parameter

RUNS = 50  # of a search without a run_cap
SAMPLERS = {"random": "random", "bayes": "tpe"}


def literal(value: Any) -> str:
    """Return a value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{literal(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, str) and not value.replace("_", "").replace("-", "").isalnum():
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)


def started_before(run_id: str, outputs: Path) -> list[str] | None:
    """Return the overrides with which a run was started the first time, None for a new one."""
    found = sorted(outputs.glob(f"*/{run_id}/.hydra/overrides.yaml"))
    return yaml.safe_load(found[0].read_text()) if found else None


def overrides(arguments: list[str], run_id: str | None, outputs: Path) -> list[str]:
    """Return train.py's overrides for what an agent passed on: fixed overrides, and the parameters as JSON."""
    *fixed, parameters = arguments
    before = started_before(run_id, outputs) if run_id else None
    chosen = json.loads(parameters)
    for name, value in chosen.items():
        require_parameter(name, value)
    given = [f"{name}={literal(value)}" for name, value in chosen.items()]
    return before or [*fixed, *given, "ckpt_path=last"]


def space(name: str, parameter: dict[str, Any]) -> str:
    """Return a parameter's values or distribution in Optuna's Hydra grammar; raise InputError for any other."""
    if "value" in parameter:
        return literal(parameter["value"])
    if "values" in parameter:
        return f"choice({','.join(map(literal, parameter['values']))})"
    low, high = parameter.get("min"), parameter.get("max")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = parameter.get("distribution", "int_uniform" if whole else "uniform")
    spaces = {
        "uniform": f"interval({low},{high})",
        "int_uniform": f"range({low},{high + 1})" if whole else "",
        "log_uniform_values": f"tag(log,interval({low},{high}))",
    }
    if not spaces.get(kind):
        raise InputError(f"{name}: distribution {kind} has no Hydra equivalent; use {', '.join(spaces)} or values")
    return spaces[kind]


def multirun(name: str, sweep: dict[str, Any]) -> list[str]:
    """Return train.py's arguments for a sweep file's content: a grid's are Hydra's own, others' a study's of a name."""
    fixed = [word for word in sweep["command"] if "=" in word]
    parameters, method = sweep["parameters"], sweep["method"]
    if method == "grid":
        grid = {name: p.get("values", [p.get("value")]) for name, p in parameters.items()}
        return ["-m", *fixed, *(f"{name}={','.join(map(literal, values))}" for name, values in grid.items())]
    pruner = "hyperband" if "early_terminate" in sweep else "none"
    search = ["hydra/sweeper=study", f"hydra/sweeper/sampler={SAMPLERS[method]}", f"hydra/sweeper/pruner={pruner}"]
    search += [f"hydra.sweeper.study_name={name}", f"hydra.sweep.dir=multirun/{name}", "callbacks=search"]
    search += [f"hydra.sweeper.n_trials={sweep.get('run_cap', RUNS)}"]
    return ["-m", *search, *fixed, *(f"{name}={space(name, p)}" for name, p in parameters.items())]
