"""Compare cells over their seeds: mean, spread and 95% interval of a score, and which differences are significant.

python scripts/compare.py outputs
python scripts/compare.py multirun/DATE --score kid --interval bootstrap --out table.tex
python scripts/compare.py --project gan-sweeps

Runs that differ only in their seed form one row. Scores of different protocols never share a table.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from gan.errors import InputError
from gan.report.statistics import build_table, compare_cells
from gan.run.record import build_run, find_runs, group_by_protocol

FORMATS = (".csv", ".md", ".tex")


def format_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table with values as text: four decimals for columns below 1.5, else two; an empty text for no value."""
    shown = pd.DataFrame(index=rows.index)
    for name in rows:
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().all():
            shown[name] = rows[name]
            continue
        digits = 0 if pd.api.types.is_integer_dtype(rows[name].dtype) else 4 if numbers.abs().max() < 1.5 else 2
        shown[name] = ["" if pd.isna(value) else f"{value:,.{digits}f}" for value in numbers]
    return shown


def write_table(rows: pd.DataFrame, protocol: str, path: Path) -> None:
    """Write a table with its protocol, in the format of the file's suffix; CSV has all digits."""
    if path.suffix == ".csv":
        rows.assign(protocol=protocol).to_csv(path, index=False)
    elif path.suffix == ".tex":
        format_table(rows).to_latex(path, index=False, escape=True, caption=protocol.replace("_", r"\_"))
    else:
        path.write_text(f"{protocol}\n\n{render_markdown(rows)}\n", encoding="utf-8")


def render_markdown(rows: pd.DataFrame) -> str:
    """Return a table in Markdown, which is readable in a terminal too."""
    shown = format_table(rows).replace(r"\|", r"\\|", regex=True)
    texts = ("cell", "other", "real")
    align = ["left" if name in texts else "right" for name in shown]
    return shown.to_markdown(index=False, disable_numparse=True, colalign=align)


def print_comparison(arguments: argparse.Namespace) -> None:
    """Print a table per protocol and the differences between its cells; write the table to a file if asked to.

    Raises InputError for a protocol that no run has, and for a file of several protocols.
    """
    if arguments.project:
        from gan.system import wandb_server  # whose import takes seconds

        runs = [build_run(*found) for found in wandb_server.load_scored_runs(arguments.project)]
    else:
        runs = find_runs(arguments.folders)
    parts = {text: members for text, members in group_by_protocol(runs).items() if arguments.protocol in text}
    if not parts:
        raise InputError(f"--protocol {arguments.protocol}: none of {'; '.join(group_by_protocol(runs))}")
    if arguments.out and len(parts) > 1:
        raise InputError(
            f"--out {arguments.out}: these runs have {len(parts)} protocols, which never share a table; "
            f"select one by a part of its text, --protocol TEXT: {' | '.join(parts)}"
        )
    for text, members in parts.items():
        names = {name for run in members for name in run.floor}
        score = arguments.score or next(name for name in sorted(names) if name.startswith("fid"))
        rows, pairs = build_table(members, score, arguments.interval), compare_cells(members, score)
        print(f"\n{text}\n\n{render_markdown(rows)}\n")
        print(
            render_markdown(pairs)
            if len(pairs)
            else "No two cells have two seeds each, so differences can't be tested."
        )
        if arguments.out:
            write_table(rows, text, arguments.out)
            print(f"\ntable: {arguments.out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of runs, or their parent folders")
    parser.add_argument("--project", help="a W&B project instead: NAME or ENTITY/NAME")
    parser.add_argument("--score", help="score to compare (default: FID)")
    parser.add_argument(
        "--interval", choices=["t", "bootstrap"], default="t", help="kind of 95%% interval (default: %(default)s)"
    )
    parser.add_argument("--protocol", default="", help="only scores whose protocol contains this text")
    parser.add_argument("--out", type=Path, help="file to write the table to: .csv, .md or .tex")
    arguments = parser.parse_args()
    if bool(arguments.folders) == bool(arguments.project):
        parser.error("give folders of runs or a --project")
    if arguments.out and arguments.out.suffix not in FORMATS:
        parser.error(f"--out {arguments.out}: must end in {', '.join(FORMATS)}")
    try:
        print_comparison(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
