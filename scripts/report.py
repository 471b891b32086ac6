"""Compare cells on one page: charts over losses, models, training and settings, samples, tables.

python scripts/report.py --local outputs
python scripts/report.py --local multirun/DATE outputs --out report.html
python scripts/report.py --project ENTITY/gan-sweeps --sweep ID

A local page is one HTML file and works without a network or a W&B account; that of a project is a report in W&B.
Scores of different protocols never share a chart or a table: each protocol has a part of its own.
"""

import argparse
import sys
from pathlib import Path

from gan.errors import InputError
from gan.report.page import page
from gan.run.record import build_run, find_runs


def write(folders: list[Path], out: Path | None) -> None:
    """Write the report of the runs at or below folders, into the first of them if nowhere else."""
    path = out or folders[0] / "report.html"
    text = page(find_runs(folders), ", ".join(map(str, folders)))
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")  # of file names that the locale can't spell
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from error
    print(f"report: {path}")


def publish(project: str, sweep: str | None) -> None:
    """Write the report of a W&B project's or sweep's runs into W&B."""
    from gan.report.wandb_page import publish
    from gan.system import wandb_server  # which takes seconds to import

    runs = [build_run(*found) for found in wandb_server.scored_runs(project, sweep)]
    print(f"report: {publish(runs, wandb_server.with_entity(project), sweep)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", nargs="+", type=Path, metavar="DIR", help="folders of runs, or above them")
    where.add_argument("--project", help="a W&B project: name or entity/name")
    parser.add_argument("--sweep", help="only the runs of this sweep of the project")
    parser.add_argument("--out", type=Path, help="file of a local page (default: report.html in the first folder)")
    arguments = parser.parse_args()
    try:
        if arguments.project:
            publish(arguments.project, arguments.sweep)
        else:
            write(arguments.local, arguments.out)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
