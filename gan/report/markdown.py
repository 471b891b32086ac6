"""Tables of a W&B report in Markdown: differences between cells, performance profiles, best of k trials, protocols."""

import html
from collections.abc import Iterable
from typing import Any

from gan.report.profiles import FEWEST_CELLS, build_profiles
from gan.report.sections import Section
from gan.report.tables import build_pair_table
from gan.report.trials import build_best_curves
from gan.run.display import format_score, score_label

TAUS = 8  # columns of a profile
TRIALS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500)


def render_aggregates(section: Section) -> dict[str, str]:
    """Return a section's tables of aggregates by heading, only those that its runs allow."""
    name = score_label(section.score)
    pairs, profiles = build_pair_table(section), build_profiles(section, TAUS)
    curves, found = build_best_curves(section.all_runs, section.score), {}
    if pairs.rows:
        rows = ([entry.text for entry in entries] for _, entries in pairs.rows)
        found["Differences"] = join_table([title for title, _ in pairs.headers], rows)
        found["Differences"] += "".join(f"\n\n{entry.text}." for entry in pairs.foot)
    if len(profiles) >= FEWEST_CELLS:
        headers = ["", *(f"τ = {tau:.3g}" for tau in profiles[0][1].taus)]
        rows = ([cell.short, *(f"{share:.2f}" for share in profile.shares)] for cell, profile in profiles)
        found[f"Share of runs whose {name} is at most τ times that of real images"] = join_table(headers, rows)
    if curves:
        counts = [k for k in TRIALS if any(k <= curve[-1][0] for curve in curves.values())]
        headers = ["", *(f"k = {k}" for k in counts)]
        rows = ([study, *format_curve(dict(curve), counts, section.score)] for study, curve in curves.items())
        found[f"Expected best {name} of k trials"] = join_table(headers, rows)
    return found


def format_curve(curve: dict[int, float], counts: list[int], score: str) -> list[str]:
    """Return the expected best score of each number of trials as text, "" where there is none."""
    return [format_score(score, curve[k]) if k in curve else "" for k in counts]


def render_protocols(sections: list[Section]) -> str:
    """Return a Markdown table with one column per protocol and one row per field."""
    names = list(dict.fromkeys(name for section in sections for name in section.protocol))
    rows = [[name, *(section.protocol.get(name, "") for section in sections)] for name in names]
    return join_table(["", *(section.protocol_id for section in sections)], rows)


def join_table(headers: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *([escape_markdown(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(value: Any) -> str:
    """Return a value as text for a Markdown table, with HTML and column marks escaped."""
    return html.escape(str(value), quote=False).replace("|", r"\|")
