"""Learning-rate schedules: progress of a run in [0, 1] in, the factor on both learning rates out."""

import math


def constant(progress: float) -> float:
    """Return 1: the learning rates stay as they are."""
    return 1.0


def linear(progress: float, *, final: float = 0.0) -> float:
    """Return a factor that falls linearly from 1 to `final`."""
    return 1.0 + (final - 1.0) * progress


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Return a factor that falls along half a cosine wave from 1 to `final`. Loshchilov & Hutter 2017, eq. 5."""
    return final + (1.0 - final) * (1 + math.cos(math.pi * progress)) / 2
