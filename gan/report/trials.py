"""Trials of a search among runs: the value of each."""

import math
from collections import defaultdict

from gan.report.aggregates import compute_best_of_k
from gan.run.record import CONFIRMED_SUFFIX, Run

FEWEST_TRIALS = 2
Curve = list[tuple[int, float]]


def list_trial_values(runs: list[Run], score: str) -> dict[str, list[float]]:
    """Return the values of each search's trials: the mean score over a trial's runs, inf if one of them diverged.

    The runs that confirm the best settings of a search are left out: their settings are chosen, not drawn.
    """
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        value = math.inf if run.scores.get("diverged") else run.scores.get(score, math.nan)
        study, number = run.trial or ("", 0)
        if study and not study.endswith(CONFIRMED_SUFFIX) and not math.isnan(value):
            found[study][number].append(value)
    return {study: [sum(values) / len(values) for values in trials.values()] for study, trials in found.items()}


def build_best_curves(runs: list[Run], score: str) -> dict[str, Curve]:
    """Return (k, expected best score of k trials) of each study with two trials or more, where it is finite.

    With m diverged trials it is infinite up to k = m: all k may be among them.
    """
    curves = {}
    for study, values in list_trial_values(runs, score).items():
        best = [(k + 1, float(value)) for k, value in enumerate(compute_best_of_k(values)) if math.isfinite(value)]
        if len(values) >= FEWEST_TRIALS and best:
            curves[study] = best
    return curves
