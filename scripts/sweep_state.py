"""Show the progress and the scores so far of a multirun or a study, also while another shell runs it.

python scripts/sweep_state.py multirun/2026-01-31_12-00-00-000000 --csv results.csv
"""

import argparse
import csv
import json
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.table import Column, Table

from gan.errors import InputError, exit_in_one_line
from gan.run.display import format_parameter, varying_overrides
from gan.run.record import read_history
from gan.system.console import plain_console
from gan.system.run_folder import CONFIG, METRICS

COLUMNS = ("run", "parameters", "state", "step", "score", "best", "job")
NUMBERS = ("run", "step", "score", "best")
OVERRIDES = Path(".hydra", "overrides.yaml")  # which Hydra leaves in each run's folder at its start
ENDED = ("finished", "diverged", "stopped early")


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Return one row per run, in the order of their numbers, and one per Slurm job that waits for its first start.

    Each folder in which Hydra has started a run counts, whatever its name.
    """
    runs = {path.parents[1] for path in folder.rglob(str(OVERRIDES))}
    found = sorted((describe_run(run, folder) for run in runs), key=lambda one: (one["number"], one["run"]))
    for one, words in zip(found, varying_overrides([one["parameters"] for one in found]), strict=True):
        one["parameters"] = words
    known = {one["job"] for one in found}
    waiting = [path.name for path in sorted((folder / ".submitit").glob("*_*")) if path.is_dir()]
    return found + [{"state": query_slurm_state(folder, job), "job": job} for job in waiting if job not in known]


def describe_run(run: Path, folder: Path) -> dict[str, Any]:
    """Return the state of a run as its folder says, or, before its end, as Slurm says of its job."""
    settings = run / OVERRIDES.parent / "hydra.yaml"
    hydra = OmegaConf.load(settings).hydra if settings.is_file() else OmegaConf.create()
    job, number = (OmegaConf.select(hydra, f"job.{name}", throw_on_missing=False) for name in ("id", "num"))
    job = str(job) if "_" in str(job) else ""  # Slurm's, which are those of arrays
    facts = {"run": str(run.relative_to(folder)), "number": number if isinstance(number, int) else -1, "job": job}
    facts["parameters"] = list(OmegaConf.load(run / OVERRIDES))
    config = OmegaConf.load(run / CONFIG) if (run / CONFIG).is_file() else OmegaConf.create()
    scores = read_scores(run)
    if scores:
        early = scores["generator_steps"] < OmegaConf.select(config, "trainer.max_steps", default=-1)
        state = "diverged" if scores["diverged"] else "stopped early" if early else "finished"
        facts |= {"state": state, "step": scores["generator_steps"]}
    else:
        scores = (read_history(run) or [{}])[-1]
        facts |= {"state": query_slurm_state(folder, job) if job else "not finished", "step": scores.get("step")}
    objective = config.get("objective")
    return facts | {"score": scores.get(objective), "best": scores.get(f"{objective}_best")}


def read_scores(run: Path) -> dict[str, Any]:
    """Return the scores of a run that has ended, an empty dict before."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads((run / METRICS).read_text(encoding="utf-8"))["scores"]
    return {}


def query_slurm_state(folder: Path, job: str) -> str:
    """Return the state of a Slurm job: pending, running, failed, ..."""
    if not shutil.which("sacct"):
        return "not finished"
    from submitit import SlurmJob

    return SlurmJob(folder / ".submitit" / job, job).state.lower()


def render_states(found: list[dict[str, Any]]) -> Table:
    """Return the rows as a table, with the numbers of runs if they are unique, and parameters in three digits."""
    numbers = [one["number"] for one in found if "number" in one]
    numbered = -1 not in numbers and len(set(numbers)) == len(numbers)
    aligned = {name: "right" if name in NUMBERS else "left" for name in COLUMNS}
    shown = Table(*(Column(name, justify=side, overflow="fold") for name, side in aligned.items()))
    for one in found:
        name = str(one.get("number", "")) if numbered else one.get("run", "")
        parts = (word.partition("=") for word in one.get("parameters", ()))
        parameters = "\n".join(key + sign + format_parameter(value) for key, sign, value in parts)
        others = ("" if one.get(key) is None else format_parameter(one[key], "{:.2f}") for key in COLUMNS[2:])
        shown.add_row(name, parameters, *others)
    return shown


def write_csv(found: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV, with parameters as on the command line; raise InputError if it can't be written."""
    texts = [one | {"parameters": shlex.join(one.get("parameters", ()))} for one in found]
    try:
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(texts)
    except OSError as error:
        raise InputError(f"--csv {path}: {error.strerror}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the multirun or study")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the table to this file")
    options = parser.parse_args()
    found = read_runs(options.folder)
    if not found:
        sys.exit(f"error: {options.folder}: contains no runs; give the folder of a multirun or study")
    console = plain_console()
    console.print(render_states(found))
    done = sum(one["state"] in ENDED for one in found)
    command = shlex.join(["python", "scripts/compare.py", str(options.folder)])
    console.print(f"{done} of {len(found)} have ended; means over seeds: {command}", soft_wrap=True)
    if options.csv:
        with exit_in_one_line():
            write_csv(found, options.csv)


if __name__ == "__main__":
    main()
