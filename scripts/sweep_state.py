"""How far the runs of a multirun or a study are, and their scores so far: for sweeps that were submitted and left.

python scripts/sweep_state.py multirun/2026-01-31_12-00-00-000000 --csv results.csv
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Column, Table

from gan.display import apart, short
from gan.runs import CONFIG, METRICS, history

COLUMNS = ("run", "parameters", "state", "step", "score", "best", "job")
NUMBERS = ("run", "step", "score", "best")


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each run, by number, and for each Slurm job that waits for its first start."""
    runs = sorted(folder.glob("[0-9]*-*"), key=lambda run: int(run.name.split("-")[0]))
    found = [row(run, folder) for run in runs]
    known = {one["job"] for one in found}
    for one, name in zip(found, apart([one["parameters"] for one in found]), strict=True):
        one["parameters"] = name
    waiting = [path.parent.name for path in sorted((folder / ".submitit").glob("*_*/*_submitted.pkl"))]
    return found + [{"state": slurm_state(folder, job), "job": job} for job in waiting if job not in known]


def row(run: Path, folder: Path) -> dict[str, Any]:
    """Return what a run's folder says of it, and of one that has not ended what Slurm says of its job."""
    settings = run / ".hydra"
    words = OmegaConf.load(settings / "overrides.yaml") if (settings / "overrides.yaml").is_file() else []
    hydra = OmegaConf.load(settings / "hydra.yaml").hydra if (settings / "hydra.yaml").is_file() else None
    job = str(OmegaConf.select(hydra, "job.id", throw_on_missing=False) or "") if hydra else ""
    job = job if "_" in job else ""  # Slurm's, which are those of arrays
    facts = {"run": run.name, "parameters": list(words), "job": job}
    config = OmegaConf.load(run / CONFIG) if (run / CONFIG).is_file() else OmegaConf.create()
    objective = config.get("objective")
    if (run / METRICS).is_file():
        scores = json.loads((run / METRICS).read_text())["scores"]
        early = scores["generator_steps"] < config.trainer.max_steps
        state = "diverged" if scores["diverged"] else "stopped early" if early else "finished"
        facts |= {"state": state, "step": scores["generator_steps"]}
    else:
        scores = (history(run) or [{}])[-1]
        facts |= {"state": slurm_state(folder, job) if job else "not finished", "step": scores.get("step")}
    return facts | {"score": scores.get(objective), "best": scores.get(f"{objective}_best")}


def slurm_state(folder: Path, job: str) -> str:
    """Return Slurm's word for a job: pending, running, failed, ..."""
    if not shutil.which("sacct"):
        return "not finished"
    from submitit import SlurmJob

    return SlurmJob(folder / ".submitit" / job, job).state.lower()


def table(found: list[dict[str, Any]]) -> Table:
    """Return the rows as people read them: runs by their numbers, parameters in three digits."""
    aligned = {name: "right" if name in NUMBERS else "left" for name in COLUMNS}
    shown = Table(*(Column(name, justify=side, overflow="fold") for name, side in aligned.items()))
    for one in found:
        number, words = one.get("run", "").partition("-")[0], one.get("parameters", "").split()
        parameters = "\n".join(f"{name}={short(value)}" for name, _, value in (word.partition("=") for word in words))
        others = ("" if one.get(name) is None else short(one[name], "{:.2f}") for name in COLUMNS[2:])
        shown.add_row(number, parameters, *others)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the multirun or study")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    found = rows(options.folder)
    if not found:
        sys.exit(f"error: {options.folder}: no runs below; give the folder of a multirun or study")
    console = Console()
    console.print(table(found))
    done = sum(one["state"] in ("finished", "diverged", "stopped early") for one in found)
    line = f"{done} of {len(found)} have ended; means over seeds: python scripts/compare.py {options.folder}"
    console.print(line, soft_wrap=True, highlight=False)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
