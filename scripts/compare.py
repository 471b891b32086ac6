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

from gan.errors import InputError
from gan.report.statistics import differences, table
from gan.run.record import build_run, find_runs, group_by_protocol

FORMATS = (".csv", ".md", ".tex")


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text: four digits where values are below 1, two where not, nothing where there is no value."""
    shown = pd.DataFrame(index=rows.index)
    for name in rows:
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().all():
            shown[name] = rows[name]
            continue
        digits = 0 if pd.api.types.is_integer_dtype(rows[name].dtype) else 4 if numbers.abs().max() < 1.5 else 2
        shown[name] = ["" if pd.isna(value) else f"{value:,.{digits}f}" for value in numbers]
    return shown


def write(rows: pd.DataFrame, protocol: str, path: Path) -> None:
    """Write a table with its protocol in the format that the file's suffix names; CSV keeps all digits."""
    if path.suffix == ".csv":
        rows.assign(protocol=protocol).to_csv(path, index=False)
    elif path.suffix == ".tex":
        readable(rows).to_latex(path, index=False, escape=True, caption=protocol.replace("_", r"\_"))
    else:
        path.write_text(f"{protocol}\n\n{markdown(rows)}\n", encoding="utf-8")


def markdown(rows: pd.DataFrame) -> str:
    """Return a table in Markdown, which reads well in a terminal too."""
    shown = readable(rows).replace(r"\|", r"\\|", regex=True)
    texts = ("cell", "other", "real")
    align = ["left" if name in texts else "right" for name in shown]
    return shown.to_markdown(index=False, disable_numparse=True, colalign=align)


def compare(arguments: argparse.Namespace) -> None:
    """Print a table for each protocol, and the differences between its cells; write the table where asked to."""
    if arguments.project:
        from gan.system import wandb_server  # which takes seconds to import

        runs = [build_run(*found) for found in wandb_server.scored_runs(arguments.project)]
    else:
        runs = find_runs(arguments.folders)
    parts = {text: members for text, members in group_by_protocol(runs).items() if arguments.protocol in text}
    if not parts:
        raise InputError(f"--protocol {arguments.protocol}: none of {'; '.join(group_by_protocol(runs))}")
    if arguments.out and len(parts) > 1:
        raise InputError(
            f"--out {arguments.out}: these runs were scored under {len(parts)} protocols, which never share a table; "
            f"choose one by a part of its text, --protocol TEXT: {' | '.join(parts)}"
        )
    for text, members in parts.items():
        names = {name for run in members for name in run.floor}
        score = arguments.score or next(name for name in sorted(names) if name.startswith("fid"))
        rows, pairs = table(members, score, arguments.interval), differences(members, score)
        print(f"\n{text}\n\n{markdown(rows)}\n")
        print(markdown(pairs) if len(pairs) else "No two cells have two seeds each: no difference can be judged.")
        if arguments.out:
            write(rows, text, arguments.out)
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
    if arguments.out and arguments.out.suffix not in FORMATS:
        parser.error(f"--out {arguments.out}: must end in {', '.join(FORMATS)}")
    try:
        compare(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
