"""Compare cells over their seeds: mean, spread and 95% interval of a score, and which differences are significant.

python scripts/compare.py outputs
python scripts/compare.py multirun/DATE --score kid --interval bootstrap --iqm --out table.tex
python scripts/compare.py --project gan-sweeps
python scripts/compare.py outputs --plan                           how many seeds separate the two best cells
python scripts/compare.py outputs --by-data-set --out table.tex    one column per data set
python scripts/compare.py --before DIR --after DIR                 two sets of runs, cell by cell
python scripts/compare.py outputs --before VERSION --after VERSION    two versions of the code, as in config.yaml

Runs that differ only in their seed form one row. Scores of different protocols never share a table.
"""

import argparse
import sys
from pathlib import Path

from gan.errors import InputError
from gan.report.data_set_table import BOLD, format_data_sets, write_data_sets
from gan.report.data_sets import build_data_set_table, compare_to_first
from gan.report.differences import compare_cells
from gan.report.power import describe_plan
from gan.report.side_by_side import SIDES, compare_sides, select_version
from gan.report.statistics import build_table, choose_score
from gan.report.text_tables import FORMATS, render_markdown, write_table
from gan.run.record import Run, build_run, drop_selecting_runs, find_runs, group_by_protocol


def load_runs(arguments: argparse.Namespace) -> list[Run]:
    """Return the runs of the given folders or W&B project."""
    if not arguments.project:
        return find_runs(arguments.folders)
    from gan.system import wandb_server  # whose import takes seconds

    return [build_run(*found) for found in wandb_server.load_scored_runs(arguments.project)]


def split_by_protocol(runs: list[Run], arguments: argparse.Namespace) -> dict[str, list[Run]]:
    """Return the runs by protocol, of those that --protocol selects.

    Raises InputError for a protocol that no run has.
    """
    parts = group_by_protocol(runs)
    selected = {text: members for text, members in parts.items() if arguments.protocol in text}
    if not selected:
        raise InputError(f"--protocol {arguments.protocol}: none of {'; '.join(parts)}")
    return selected


def require_one_protocol(parts: dict[str, list[Run]], arguments: argparse.Namespace) -> None:
    """Raise InputError for a file of several protocols."""
    if arguments.out and len(parts) > 1:
        raise InputError(
            f"--out {arguments.out}: these runs have {len(parts)} protocols, which never share a table; "
            f"select one by a part of its text, --protocol TEXT: {' | '.join(parts)}"
        )


def print_comparison(arguments: argparse.Namespace) -> None:
    """Print a table per protocol and the differences between its cells, and the plan; write the table if asked to."""
    parts = split_by_protocol(load_runs(arguments), arguments)
    require_one_protocol(parts, arguments)
    for text, members in parts.items():
        score = choose_score(members, arguments.score)
        rows = build_table(members, score, arguments.interval, with_iqm=arguments.iqm)
        pairs = compare_cells(members, score)
        print(f"\n{text}\n\n{render_markdown(rows)}\n")
        print(
            render_markdown(pairs)
            if len(pairs)
            else "No two cells have two seeds each, so differences can't be tested."
        )
        if n := len(members) - len(drop_selecting_runs(members)):
            print(f"\n{n} runs by which a search chose its best settings are left out: these have fresh seeds.")
        if arguments.plan:
            print(f"\n{describe_plan(members, score)}")
        if arguments.out:
            write_table(rows, text, arguments.out)
            print(f"\ntable: {arguments.out}")


def print_sides(arguments: argparse.Namespace) -> None:
    """Print a table per protocol of the runs before and after; write it if asked to.

    Raises InputError for a version that no run has, and for sides without a common protocol.
    """
    names = [getattr(arguments, side) for side in SIDES]
    if arguments.folders or arguments.project:
        runs = load_runs(arguments)
        sides = [select_version(runs, name, side) for name, side in zip(names, SIDES, strict=True)]
    else:
        sides = [find_runs([Path(name)]) for name in names]
    before, after = (split_by_protocol(runs, arguments) for runs in sides)
    shared = {text: [*before[text], *after[text]] for text in before if text in after}
    if not shared:
        raise InputError(
            f"--before {names[0]} --after {names[1]}: have no protocol in common: {'; '.join(before)} against "
            f"{'; '.join(after)}"
        )
    require_one_protocol(shared, arguments)
    for text, members in shared.items():
        rows, alone = compare_sides(before[text], after[text], choose_score(members, arguments.score))
        print(f"\n{text}\n")
        print(render_markdown(rows) if len(rows) else "No cell is on both sides.")
        if alone:
            print(f"\non one side only: {'; '.join(alone)}")
        if arguments.out:
            write_table(rows, text, arguments.out)
            print(f"\ntable: {arguments.out}")


def print_data_sets(arguments: argparse.Namespace) -> None:
    """Print one table of cells by data sets; write it if asked to."""
    table = build_data_set_table(split_by_protocol(load_runs(arguments), arguments), arguments.score)
    print(f"\n{render_markdown(format_data_sets(table, BOLD))}\n")
    pairs = compare_to_first(table)
    if len(pairs):
        print(f"{render_markdown(pairs)}\n")
    for data, protocol in table.protocols.items():
        print(f"{data}: {protocol}")
    if arguments.out:
        write_data_sets(table, arguments.out)
        print(f"\ntable: {arguments.out}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of runs, or their parent folders")
    parser.add_argument("--project", help="a W&B project instead: NAME or ENTITY/NAME")
    parser.add_argument("--score", help="score to compare (default: FID)")
    parser.add_argument(
        "--interval",
        choices=["t", "bootstrap"],
        default="t",
        help="95%% interval of the mean: Student's t, or bootstrap-t for skewed scores (default: %(default)s)",
    )
    parser.add_argument(
        "--iqm", action="store_true", help="add the interquartile mean and, for five seeds or more, its 95%% interval"
    )
    parser.add_argument("--plan", action="store_true", help="say how many seeds per cell separate the two best cells")
    parser.add_argument("--by-data-set", action="store_true", help="one table with a column per data set")
    parser.add_argument("--before", metavar="DIR|VERSION", help="with --after: runs, or a code version of the runs")
    parser.add_argument("--after", metavar="DIR|VERSION", help="with --before: runs, or a code version of the runs")
    parser.add_argument("--protocol", default="", help="only scores whose protocol contains this text")
    parser.add_argument("--out", type=Path, help="file to write the table to: .csv, .md or .tex")
    return parser


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments; end the command for those that do not go together."""
    arguments = parser.parse_args()
    sides = [side for side in SIDES if getattr(arguments, side)]
    if len(sides) == 1:
        parser.error(f"--{sides[0]} needs --{'after' if sides == ['before'] else 'before'} too")
    if (arguments.folders and arguments.project) or not (arguments.folders or arguments.project or sides):
        parser.error("give folders of runs or a --project")
    modes = {"--before": bool(sides), "--by-data-set": arguments.by_data_set, "--plan": arguments.plan}
    chosen = [name for name, is_chosen in modes.items() if is_chosen]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} are different tables; give one of them")
    if arguments.out and arguments.out.suffix not in FORMATS:
        parser.error(f"--out {arguments.out}: must end in {', '.join(FORMATS)}")
    return arguments


def main() -> None:
    arguments = parse_arguments(build_parser())
    printed = print_sides if arguments.before else print_data_sets if arguments.by_data_set else print_comparison
    try:
        printed(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
