"""Write one HTML page that compares cells: charts over losses, models, training and settings, samples, tables.

python scripts/report.py --local outputs
python scripts/report.py --local multirun/DATE outputs --out report.html

The page is one file and works without a network or a W&B account. Scores of different protocols never share a chart
or a table: each protocol has a part of its own.
"""

import argparse
import sys
from pathlib import Path

from gan.errors import InputError
from gan.report.page import page
from gan.runs import local_runs


def write(folders: list[Path], out: Path | None) -> None:
    """Write the report of the runs at or below folders, into the first of them if nowhere else."""
    path = out or folders[0] / "report.html"
    text = page(local_runs(folders), ", ".join(map(str, folders)))
    try:
        path.write_text(text)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from error
    print(f"report: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--local", nargs="+", type=Path, required=True, metavar="DIR", help="folders of runs, or above")
    parser.add_argument("--out", type=Path, help="file to write (default: report.html in the first folder)")
    arguments = parser.parse_args()
    try:
        write(arguments.local, arguments.out)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
