"""Performance profiles of the cells of a section: the share of runs within each multiple of the floor."""

import math

import numpy as np

from gan.report.aggregates import Profile, compute_profile
from gan.report.sections import Cell, Section
from gan.report.statistics import compare_to_floor

FEWEST_CELLS = 2
FEWEST_SEEDS = 2
MOST_CELLS = 5  # more lines hide each other
POINTS = 120  # of a chart


def build_profiles(section: Section, points: int = POINTS) -> list[tuple[Cell, Profile]]:
    """Return the profiles of the best cells with two seeds or more, [] without a floor above 0.

    The `points` multiples of the floor are evenly spaced on a logarithmic scale around all ratios. A diverged run is
    above all of them.
    """
    ratios = {}
    for cell in section.cells:
        known = [ratio for run in cell.runs if not math.isnan(ratio := compare_to_floor(run, section.score))]
        if cell.fids and len(known) >= FEWEST_SEEDS and len(ratios) < MOST_CELLS:
            ratios[cell.label] = known
    finite = [ratio for known in ratios.values() for ratio in known if math.isfinite(ratio)]
    if not finite:
        return []
    taus = np.geomspace(min(finite) / 1.1, max(finite) * 1.1, points).tolist()
    cells = {cell.label: cell for cell in section.cells}
    return [(cells[label], compute_profile(known, taus)) for label, known in ratios.items()]
