"""Learning-rate schedules: the progress of a run, 0 to 1, in; the factor on both learning rates out."""

import math


def constant(progress: float) -> float:
    """Keep the learning rates."""
    return 1.0


def linear(progress: float, *, final: float = 0.0) -> float:
    """Fall in a straight line from 1 to `final`."""
    return 1.0 + (final - 1.0) * progress


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Fall along half a cosine wave from 1 to `final`. Loshchilov & Hutter 2017, eq. 5, without restarts."""
    return final + (1.0 - final) * (1 + math.cos(math.pi * progress)) / 2
