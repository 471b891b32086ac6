"""Durations of training, which compare only between runs on the same kind of hardware."""

from collections.abc import Iterable

import numpy as np

from gan.run.record import Run


def list_accelerators(runs: Iterable[Run]) -> list[str]:
    """Return the accelerators that runs trained on, each once, in the order of their names."""
    return sorted({run.accelerator for run in runs})


def describe_minutes(runs: list[Run], compared: Iterable[Run]) -> str:
    """Return the mean minutes of runs, "" if unknown; by accelerator if the runs `compared` with them used several.

    For example "9.8", or "9.8 (cpu), 1.6 (gpu)".
    """
    several, parts = len(list_accelerators(compared)) > 1, []
    for accelerator in list_accelerators(runs) if several else [None]:
        members = [run for run in runs if accelerator in (None, run.accelerator)]
        seconds = [run.scores["seconds"] for run in members if "seconds" in run.scores]
        if seconds:
            parts.append(f"{np.mean(seconds) / 60:,.1f}" + (f" ({accelerator or 'unknown'})" if several else ""))
    return ", ".join(parts)
