"""How far the runs of a multirun or a study are, and their scores so far: for sweeps that were submitted and left.

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


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each run, in the order of their numbers, and for each Slurm job that waits for its first start.

    A run is any folder below that Hydra has started one in, whatever the pattern of their names.
    """
    runs = {path.parents[1] for path in folder.rglob(str(OVERRIDES))}
    found = sorted((row(run, folder) for run in runs), key=lambda one: (one["number"], one["run"]))
    for one, words in zip(found, varying_overrides([one["parameters"] for one in found]), strict=True):
        one["parameters"] = words
    known = {one["job"] for one in found}
    waiting = [path.parent.name for path in sorted((folder / ".submitit").glob("*_*/*_submitted.pkl"))]
    return found + [{"state": slurm_state(folder, job), "job": job} for job in waiting if job not in known]


def row(run: Path, folder: Path) -> dict[str, Any]:
    """Return what a run's folder says of it, and of one that has not ended what Slurm says of its job."""
    settings = run / OVERRIDES.parent / "hydra.yaml"
    hydra = OmegaConf.load(settings).hydra if settings.is_file() else OmegaConf.create()
    job, number = (OmegaConf.select(hydra, f"job.{name}", throw_on_missing=False) for name in ("id", "num"))
    job = str(job) if "_" in str(job) else ""  # Slurm's, which are those of arrays
    facts = {"run": str(run.relative_to(folder)), "number": number if isinstance(number, int) else -1, "job": job}
    facts["parameters"] = list(OmegaConf.load(run / OVERRIDES))
    config = OmegaConf.load(run / CONFIG) if (run / CONFIG).is_file() else OmegaConf.create()
    scores = finished_scores(run)
    if scores:
        early = scores["generator_steps"] < OmegaConf.select(config, "trainer.max_steps", default=-1)
        state = "diverged" if scores["diverged"] else "stopped early" if early else "finished"
        facts |= {"state": state, "step": scores["generator_steps"]}
    else:
        scores = (read_history(run) or [{}])[-1]
        facts |= {"state": slurm_state(folder, job) if job else "not finished", "step": scores.get("step")}
    objective = config.get("objective")
    return facts | {"score": scores.get(objective), "best": scores.get(f"{objective}_best")}


def finished_scores(run: Path) -> dict[str, Any]:
    """Return the scores of a run that has ended, none of one that has not or is just writing them."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads((run / METRICS).read_text(encoding="utf-8"))["scores"]
    return {}


def slurm_state(folder: Path, job: str) -> str:
    """Return Slurm's word for a job: pending, running, failed, ..."""
    if not shutil.which("sacct"):
        return "not finished"
    from submitit import SlurmJob

    return SlurmJob(folder / ".submitit" / job, job).state.lower()


def table(found: list[dict[str, Any]]) -> Table:
    """Return the rows as people read them: runs by their numbers where they have such, parameters in three digits."""
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


def write(found: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV, parameters as a command line holds them."""
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
    parser.add_argument("folder", type=Path, help="of the multirun or study")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    found = rows(options.folder)
    if not found:
        sys.exit(f"error: {options.folder}: no runs below; give the folder of a multirun or study")
    console = plain_console()
    console.print(table(found))
    done = sum(one["state"] in ENDED for one in found)
    command = shlex.join(["python", "scripts/compare.py", str(options.folder)])
    console.print(f"{done} of {len(found)} have ended; means over seeds: {command}", soft_wrap=True)
    if options.csv:
        with exit_in_one_line():
            write(found, options.csv)


if __name__ == "__main__":
    main()
