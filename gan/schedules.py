"""Learning-rate schedules: progress of a run in [0, 1] in, the factor on both learning rates out."""

import math

from gan.errors import InputError


def constant(progress: float) -> float:
    """Return 1: the learning rates stay as they are."""
    return 1.0


def linear(progress: float, *, final: float = 0.0) -> float:
    """Return a factor that falls linearly from 1 to `final`."""
    return 1.0 + (final - 1.0) * progress


def cosine(progress: float, *, final: float = 0.0, until: float = 1.0) -> float:
    """Return a factor that falls along half a cosine wave from 1 to `final`. Loshchilov & Hutter 2017, eq. 5.

    It is `final` from the share `until` of the run on. Raises InputError for an `until` outside (0, 1].
    """
    progress = min(progress / require_share("schedule.until", until), 1.0)
    return final + (1.0 - final) * (1 + math.cos(math.pi * progress)) / 2


def require_share(key: str, value: float) -> float:
    """Return a share of the run; raise InputError outside (0, 1]."""
    if not 0 < value <= 1:
        raise InputError(f"{key}={value:g}: must be a share of the run, above 0 and at most 1")
    return value
