"""Copy the runs of a table to results/, and write results/README.md anew from the runs there.

python scripts/publish.py digits multirun/digits    copies the runs of a folder, then writes the page
python scripts/publish.py                           writes the page
python scripts/publish.py --check                   says whether the page is what the runs imply

The tables are those of results/tables.yaml. A table may have any part of its runs: n says how many seeds each row has.
What was learned from all of them is in results/learned.md.
"""

import argparse
import sys
from pathlib import Path

from gan.errors import InputError
from gan.report.publishing import draw_tables, publish_runs
from gan.report.results import PAGE, read_tables
from gan.report.results_page import render_results
from gan.system.files import write_whole


def copy_runs(results: Path, name: str, sources: list[Path]) -> None:
    """Copy the runs in folders to the table of this name; raise InputError for an unknown table."""
    tables = {table.name: table for table in read_tables(results)}
    if name not in tables:
        raise InputError(f"{name}: must be a table of {results}: {', '.join(tables)}")
    print(f"{publish_runs(sources, results, tables[name])} runs: {results / name}")


def check_page(results: Path) -> None:
    """Raise InputError, with the first line that differs, unless the page is what the runs imply."""
    written = (results / PAGE).read_text(encoding="utf-8").splitlines() if (results / PAGE).is_file() else []
    implied = render_results(results).splitlines()
    for i in range(max(len(written), len(implied))):
        old, new = (lines[i] if i < len(lines) else "nothing" for lines in (written, implied))
        if old != new:
            raise InputError(f"{results / PAGE}, line {i + 1}: is {old!r}, but its runs imply {new!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", help="name of a table in tables.yaml")
    parser.add_argument("folders", nargs="*", type=Path, help="folders of its runs, or their parent folders")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all tables (default: results)")
    arguments = parser.parse_args()
    if bool(arguments.table) != bool(arguments.folders) or (arguments.check and arguments.table):
        parser.error("give a table and folders of its runs, or --check, or nothing")
    try:
        if arguments.check:
            check_page(arguments.results)
            return
        if arguments.table:
            copy_runs(arguments.results, arguments.table, arguments.folders)
        draw_tables(arguments.results)
        write_whole(arguments.results / PAGE, render_results(arguments.results))
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"page: {arguments.results / PAGE}")


if __name__ == "__main__":
    main()
