"""Annealing: values of the game that move to another value over the run, as learning rates do by a schedule."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch.optim import Optimizer

from gan.augment import ADA, Augment, Fixed
from gan.ema import EMA
from gan.errors import InputError
from gan.penalties import GammaPenalty, Penalty
from gan.schedules import cosine, require_share

RANGES = {  # of final values: those of the values themselves
    "gamma": (lambda value: value > 0, "above 0"),
    "beta2": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "ema_half_life_steps": (lambda value: value >= 0, "at least 0"),
    "augment_p": (lambda value: 0 <= value <= 1, "from 0 to 1"),
}


class Annealing:
    """Moves a value along half a cosine wave to `final`, which it has from the share `until` of the run on.

    It depends on the progress of the run only, so that there is nothing to save. In this way Huang et al. 2024, "The
    GAN is dead; long live the GAN! A Modern GAN Baseline", anneal the learning rate, R1's and R2's gamma, Adam's beta2,
    the half-life of the EMA and the probability of augmentations; the formula is that of `cosine_decay_with_warmup` in
    their code. Raises InputError for an unknown `name`, for a final value outside of its range, and for an `until`
    outside (0, 1].
    """

    def __init__(self, name: str, *, final: float, until: float = 1.0) -> None:
        if name not in RANGES:
            raise InputError(f"annealing.{name}: must be one of {', '.join(RANGES)}")
        is_allowed, allowed = RANGES[name]
        if not is_allowed(final):
            raise InputError(f"annealing.{name}.final={final:g}: must be {allowed}, or null to keep the value")
        self.final, self.until = final, require_share(f"annealing.{name}.until", until)

    def compute(self, start: float, progress: float) -> float:
        """Return the value at a progress of the run from 0 to 1: exactly `start` at 0, and `final` from `until` on."""
        weight = cosine(progress, until=self.until)
        return weight * start + (1 - weight) * self.final


class Annealed(NamedTuple):
    """An attribute of a part of the game that is annealed, with its value at the start."""

    part: Any
    attribute: str
    start: float
    annealing: Annealing

    def advance(self, progress: float) -> None:
        """Set the attribute to its value at a progress of the run from 0 to 1."""
        setattr(self.part, self.attribute, self.annealing.compute(self.start, progress))


def list_annealed(
    annealing: Mapping[str, Annealing], *, penalties: Iterable[Penalty], ema: EMA, augment: Augment
) -> list[Annealed]:
    """Return all that is annealed but beta2, which belongs to optimizers; raise InputError for values of no part."""
    parts = {
        "gamma": [(penalty, "gamma") for penalty in penalties if isinstance(penalty, GammaPenalty)],
        "ema_half_life_steps": [(ema, "half_life_steps")],
        "augment_p": [(augment, "p")] if isinstance(augment, Fixed) else [],
    }
    adapts = "adapts its probability itself" if isinstance(augment, ADA) else "has no probability"
    lacking = {
        "gamma": "no penalty of this run has a gamma; use penalty=r1, penalty=r2 or penalty=[r1,r2]",
        "augment_p": f"this augmentation {adapts}; use augment=fixed",
    }
    chosen = {name: annealing[name] for name in parts if name in annealing}
    for name, each in chosen.items():
        if not parts[name]:
            raise InputError(f"annealing.{name}.final={each.final:g}: {lacking[name]}, or final=null to leave it out")
    return [
        Annealed(part, attribute, getattr(part, attribute), each)
        for name, each in chosen.items()
        for part, attribute in parts[name]
    ]


def require_beta2(optimizers: Iterable[Optimizer]) -> None:
    """Raise InputError for an optimizer that has no beta2 to anneal."""
    for optimizer in optimizers:
        if "betas" not in optimizer.defaults:
            raise InputError(
                f"annealing.beta2: {type(optimizer).__name__} has no beta2; use optimizer=adam, or final=null to leave "
                "it out"
            )
