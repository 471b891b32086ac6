"""Durations of training, which compare only between runs on the same kind of hardware."""

from collections.abc import Iterable

import numpy as np

from gan.run.record import Run


def list_accelerators(runs: Iterable[Run]) -> list[str]:
    """Return the accelerators that runs trained on, each once, in the order of their names."""
    return sorted({run.accelerator for run in runs})


def use_several_accelerators(runs: Iterable[Run]) -> bool:
    """Return whether runs trained on more than one kind of accelerator."""
    return len(list_accelerators(runs)) > 1


def describe_minutes(runs: list[Run], *, by_accelerator: bool) -> str:
    """Return the mean minutes of runs, such as "9.8", or "9.8 (cpu), 1.6 (gpu)" by accelerator; "" if unknown."""
    if not by_accelerator:
        seconds = [run.scores["seconds"] for run in runs if "seconds" in run.scores]
        return f"{np.mean(seconds) / 60:,.1f}" if seconds else ""
    parts = []
    for accelerator in list_accelerators(runs):
        members = [run for run in runs if run.accelerator == accelerator]
        if minutes := describe_minutes(members, by_accelerator=False):
            parts.append(f"{minutes} ({accelerator or 'unknown'})")
    return ", ".join(parts)
