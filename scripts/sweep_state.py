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
from rich.table import Table

from gan.display import apart
from gan.runs import CONFIG, METRICS, history

COLUMNS = ("run", "parameters", "state", "step", "score", "best", "job")


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each run and for each job that waits for its first start, in the order of their numbers."""
    runs = sorted(folder.glob("[0-9]*-*"), key=lambda run: int(run.name.split("-")[0]))
    found = [row(run, folder) for run in runs]
    known = {one["job"] for one in found}
    for one, name in zip(found, apart([one["parameters"] for one in found]), strict=True):
        one["parameters"] = name
    waiting = [path.parent.name for path in sorted((folder / ".submitit").glob("*/*_submitted.pkl"))]
    return found + [{"state": slurm_state(folder, job), "job": job} for job in waiting if job not in known]


def row(run: Path, folder: Path) -> dict[str, Any]:
    """Return what a run's folder says of it, and of one that has not ended what Slurm says of its job."""
    settings = run / ".hydra"
    words = OmegaConf.load(settings / "overrides.yaml") if (settings / "overrides.yaml").is_file() else []
    hydra = OmegaConf.load(settings / "hydra.yaml").hydra if (settings / "hydra.yaml").is_file() else None
    job = str(OmegaConf.select(hydra, "job.id", throw_on_missing=False) or "") if hydra else ""
    facts = {"run": run.name, "parameters": list(words), "job": job}
    objective = OmegaConf.load(run / CONFIG).objective if (run / CONFIG).is_file() else None
    if (run / METRICS).is_file():
        scores = json.loads((run / METRICS).read_text())["scores"]
        facts |= {"state": "diverged" if scores["diverged"] else "finished", "step": scores["generator_steps"]}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the multirun or study")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    found = rows(options.folder)
    if not found:
        sys.exit(f"error: {options.folder}: no runs below; give the folder of a multirun or study")
    table = Table()
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("step", "score", "best") else "left", overflow="fold")
    for one in found:
        cells = (one.get(name) for name in COLUMNS)
        table.add_row(
            *("" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
        )
    console = Console()
    console.print(table)
    done = sum(one["state"] in ("finished", "diverged") for one in found)
    line = f"{done} of {len(found)} have ended; means over seeds: python scripts/compare.py {options.folder}"
    console.print(line, soft_wrap=True, highlight=False)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
