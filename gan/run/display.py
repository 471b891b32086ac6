"""A run's scores as people read them: names, units, and a table on the terminal."""

import re
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from rich import box
from rich.table import Table

from gan.system.console import plain_console

READING = threading.Lock()  # all threads share sys.stderr
FLAGS = ("diverged", "collapsed")  # shown only if they are true
NAMES = {
    "inception_score": "Inception Score",
    "seconds": "Training time",
    "flops_per_step": "Cost of a step",
}


def print_scores(run: dict[str, Any]) -> None:
    """Print a run's scores beside those of its best checkpoint and of real images, and their protocol.

    `run` is the content of metrics.json.
    """
    console = plain_console()
    scores, best, floor = run["scores"], run.get("best") or {}, run.get("floor", {})
    at_n_floor, n = run.get("at_n_floor") or {}, run.get("n_floor")
    if best.get("protocol") == run.get("protocol"):  # the scores of the run's only evaluation
        best = {}
    table = Table(box=box.ROUNDED)
    table.add_column()
    table.add_column(run.get("checkpoint", "last"), justify="right")
    if best:
        table.add_column(f"best, step {best['step']:,},\nnew samples", justify="right")
    if at_n_floor:
        table.add_column(f"{run.get('checkpoint', 'last')},\nn = {n:,}", justify="right")
    if floor:
        table.add_column(f"real images,\nn = {n:,}" if n else "real\nimages", justify="right")
    for name, value in scores.items():
        if name not in FLAGS or value:
            others = [other for other in (best.get("scores"), at_n_floor, floor) if other]
            beside = [format_score(name, other[name]) if name in other else "" for other in others]
            table.add_row(score_label(name), format_score(name, value), *beside)
    console.print(table)
    if "protocol" in run:
        text = (
            "protocol    {extractor} (sha256 {extractor_sha256:.8}), {n_fakes:,} samples of the {generator} generator "
            "against {n_reals:,} images of the {reference} split"
        )
        averaged = {"generator": {"ema": "EMA"}.get(run["protocol"]["generator"], "raw")}
        console.print(text.format(**run["protocol"] | averaged), soft_wrap=True)
    if at_n_floor:
        text = f"{f'n = {n:,}':<11} scores depend on the number of images: compare real images with as many samples"
        console.print(text, soft_wrap=True)


def print_result(number: int, name: str, job: JobReturn) -> None:
    """Print the objective of a finished run of a multirun, or why it failed."""
    value = read_result(job)
    words = " ".join([type(value).__name__, *str(value).splitlines()[:1]]) if job.status == JobStatus.FAILED else value
    ending = f"{words:.2f}" if isinstance(words, float) else "" if words is None else str(words)
    plain_console().print("  ".join(filter(None, [f"run {number}", name, ending])), soft_wrap=True)


def read_result(job: JobReturn) -> Any:
    """Return a job's value, or the exception with which it failed."""
    with READING, redirect_stderr(StringIO()):  # Hydra prints the overrides of a failed job each time it is asked
        try:
            return job.return_value
        except BaseException as error:
            return error


def varying_overrides(runs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return each run's overrides without those that all runs share."""
    same = set.intersection(*map(set, runs)) if len(runs) > 1 else set()
    return [[word for word in words if word not in same] for words in runs]


def name_by_overrides(runs: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each run: its overrides without those that all runs share."""
    return [" ".join(words) for words in varying_overrides(runs)]


def print_files(files: dict[str, list]) -> None:
    """Print the paths and URLs of a run's files, each after what it is."""
    for name, paths in files.items():
        for path in paths:
            plain_console().print(f"{name:<11} {path}", soft_wrap=True)


def score_label(name: str) -> str:
    """Return a score's name for tables: "FID 2k, best so far" for fid_2k_best."""
    words = name.replace("_best", ", best so far").replace("_", " ").capitalize()
    return NAMES.get(name) or re.sub(r"\b(fid|kid|kl)\b", lambda found: found[0].upper(), words, flags=re.IGNORECASE)


def format_parameter(value: Any, form: str = "{:.3g}") -> str:
    """Return a parameter with three significant digits; strings that hold a float are rounded, too."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+\.\d+(e-?\d+)?|-?\d+e-?\d+", value):
        value = float(value)
    return form.format(value) if isinstance(value, float) else str(value)


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def format_score(name: str, value: float) -> str:
    """Return a score with its unit, rounded for a table."""
    if name in FLAGS:
        return "yes" if value else "no"
    if name == "flops_per_step":
        return f"{value / 1e9:.3g} GFLOP"
    if name == "seconds":
        return f"{value // 60:.0f} min {value % 60:02.0f} s"
    if name.endswith("accuracy") or name == "high_quality":
        return f"{value:.1%}"
    if isinstance(value, int):
        return f"{value:,.0f}"
    return f"{value:.2f}" if name.startswith(("fid", "intra_fid", "inception", "modes")) else f"{value:.4f}"
