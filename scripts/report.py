"""Compare cells in a report: charts of losses, models, training and settings, samples, tables.

python scripts/report.py --local outputs
python scripts/report.py --local multirun/DATE outputs --out report.html
python scripts/report.py --project ENTITY/gan-sweeps --sweep ID

With --local the report is one HTML file, which needs no network and no W&B account. With --project it is a report in
W&B. Scores of different protocols never share a chart or a table: each protocol has its own part.
"""

import argparse
import sys
from pathlib import Path

from gan.errors import InputError
from gan.report.page import render_page
from gan.run.record import build_run, find_runs


def write_page(folders: list[Path], out: Path | None) -> None:
    """Write the report of the runs in folders, by default into the first one; raise InputError if that fails."""
    path = out or folders[0] / "report.html"
    text = render_page(find_runs(folders), ", ".join(map(str, folders)))
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")  # for file names that the locale can't encode
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from error
    print(f"report: {path}")


def create_wandb_report(project: str, sweep: str | None) -> None:
    """Create a W&B report of the runs of a project or sweep."""
    from gan.report.wandb_report import publish_report
    from gan.system import wandb_server  # whose import takes seconds

    runs = [build_run(*found) for found in wandb_server.load_scored_runs(project, sweep)]
    print(f"report: {publish_report(runs, wandb_server.add_entity(project), sweep)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", nargs="+", type=Path, metavar="DIR", help="folders of runs, or their parent folders")
    where.add_argument("--project", help="a W&B project: NAME or ENTITY/NAME")
    parser.add_argument("--sweep", help="only the runs of this W&B sweep")
    parser.add_argument("--out", type=Path, help="file of a local report (default: report.html in the first folder)")
    arguments = parser.parse_args()
    try:
        if arguments.project:
            create_wandb_report(arguments.project, arguments.sweep)
        else:
            write_page(arguments.local, arguments.out)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
