"""Compare cells over their seeds: mean, spread and 95% interval of a score, and which differences are real.

python scripts/compare.py outputs
python scripts/compare.py multirun/DATE --score kid --interval bootstrap --out table.tex
python scripts/compare.py --project gan-sweeps

Runs that differ in their seed only are one row; scores of different protocols never share a table.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from gan import tracking
from gan.comparison import differences, table
from gan.errors import InputError
from gan.runs import as_run, by_protocol, local_runs

WRITERS = {".csv": "to_csv", ".md": "to_markdown", ".tex": "to_latex"}


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write a table in the format that its file's suffix names."""
    options = {".csv": {}, ".md": {"floatfmt": ".2f"}, ".tex": {"float_format": "%.2f", "escape": True, "na_rep": ""}}
    getattr(rows, WRITERS[path.suffix])(path, index=False, **options[path.suffix])


def printed(rows: pd.DataFrame) -> str:
    """Return a table in Markdown, which reads well in a terminal too."""
    formats = [".4f" if name == "p" else ".2f" if rows[name].dtype == float else ",.0f" for name in rows]
    return rows.to_markdown(index=False, floatfmt=formats, missingval="", intfmt=",")


def compare(arguments: argparse.Namespace) -> None:
    """Print a table for each protocol, and the differences between its cells; write the table where asked to."""
    if arguments.project:
        runs = [as_run(*found) for found in tracking.scored_runs(arguments.project)]
    else:
        runs = local_runs(arguments.folders)
    parts = {text: members for text, members in by_protocol(runs).items() if arguments.protocol in text}
    if not parts:
        raise InputError(f"--protocol {arguments.protocol}: none of {'; '.join(by_protocol(runs))}")
    if arguments.out and len(parts) > 1:
        raise InputError(
            f"--out {arguments.out}: these runs were scored under {len(parts)} protocols, which never share a table; "
            f"choose one by a part of its text, --protocol TEXT: {' | '.join(parts)}"
        )
    for text, members in parts.items():
        names = {name for run in members for name in run.floor}
        score = arguments.score or next(name for name in sorted(names) if name.startswith("fid"))
        rows, pairs = table(members, score, arguments.interval), differences(members, score)
        print(f"\n{text}\n\n{printed(rows)}\n")
        print(printed(pairs) if len(pairs) else "No two cells have two seeds each: no difference can be judged.")
        if arguments.out:
            write(rows, arguments.out)
            print(f"\ntable: {arguments.out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of runs, or above them")
    parser.add_argument("--project", help="a W&B project instead: name or entity/name")
    parser.add_argument("--score", help="the score to compare (default: FID)")
    parser.add_argument("--interval", choices=["t", "bootstrap"], default="t", help="default: %(default)s")
    parser.add_argument("--protocol", default="", help="only scores whose protocol holds this text")
    parser.add_argument("--out", type=Path, help="file to write the table to: .csv, .md or .tex")
    arguments = parser.parse_args()
    if bool(arguments.folders) == bool(arguments.project):
        parser.error("give folders of runs or a --project")
    if arguments.out and arguments.out.suffix not in WRITERS:
        parser.error(f"--out {arguments.out}: must end in {', '.join(WRITERS)}")
    try:
        compare(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
