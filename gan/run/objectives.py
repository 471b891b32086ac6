"""The values that a run can return to a sweeper, known before it trains."""

from gan.callbacks.evaluation import Evaluation
from gan.errors import InputError

FACTS = ("images_seen", "generator_steps", "seconds", "diverged", "collapsed")
COST = ("generator_parameters", "discriminator_parameters", "flops_per_step")


def require_measured(name: str, evaluation: Evaluation) -> None:
    """Raise InputError for a second objective that a run does not measure."""
    allowed = list_measured(evaluation)
    if name not in allowed:
        raise InputError(f"second_objective={name}: must be one of {', '.join(allowed)}, or null for none")


def list_measured(evaluation: Evaluation) -> list[str]:
    """Return the names of all values that a run measures, scores first."""
    if not evaluation.scorer:
        return [*COST, *FACTS]
    return [*evaluation.scorer.list_scores(), f"{evaluation.objective}_best", *COST, *FACTS]
