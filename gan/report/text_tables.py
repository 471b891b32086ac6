"""Tables as text: Markdown, which is readable in a terminal too, LaTeX and CSV."""

from pathlib import Path

import pandas as pd

FORMATS = (".csv", ".md", ".tex")
TEXTS = ("cell", "other", "real")  # columns of text
LATEX = {mark: f"\\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


def format_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table with values as text: two decimals, four in columns below 1.5 except probabilities "P..."."""
    shown = pd.DataFrame(index=rows.index)
    for name in rows:
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if numbers.isna().all():
            shown[name] = ["" if pd.isna(value) else value for value in rows[name]]
            continue
        small = numbers.abs().max() < 1.5 and not name.startswith("P")
        digits = 0 if pd.api.types.is_integer_dtype(rows[name].dtype) else 4 if small else 2
        shown[name] = ["" if pd.isna(value) else f"{value:,.{digits}f}" for value in numbers]
    return shown


def render_markdown(rows: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    shown = format_table(rows).replace(r"\|", r"\\|", regex=True)
    align = ["left" if name in TEXTS else "right" for name in shown]
    return shown.to_markdown(index=False, disable_numparse=True, colalign=align)


def escape_latex(text: str) -> str:
    """Return text for LaTeX, with its special characters escaped."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def write_table(rows: pd.DataFrame, caption: str, path: Path) -> None:
    """Write a table with a caption, in the format of the file's suffix; CSV has all digits."""
    if path.suffix == ".csv":
        rows.assign(protocol=caption).to_csv(path, index=False)
    elif path.suffix == ".tex":
        format_table(rows).to_latex(path, index=False, escape=True, caption=escape_latex(caption))
    else:
        path.write_text(f"{caption}\n\n{render_markdown(rows)}\n", encoding="utf-8")
