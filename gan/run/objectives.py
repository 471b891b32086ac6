"""The values that a run can return to a sweeper, known before it trains."""

import torch

from gan.callbacks.evaluation import Evaluation
from gan.errors import InputError

FACTS = ("images_seen", "generator_steps", "seconds", "diverged")
COST = ("generator_parameters", "discriminator_parameters", "flops_per_step")
SCORES = ("kid", "precision", "recall", "density", "coverage", "diversity")


def require_measured(name: str, evaluation: Evaluation) -> None:
    """Raise InputError for a second objective that a run does not measure."""
    allowed = list_measured(evaluation)
    if name not in allowed:
        raise InputError(f"second_objective={name}: must be one of {', '.join(allowed)}, or null for none")


def list_measured(evaluation: Evaluation) -> list[str]:
    """Return the names of all values that a run measures, scores first."""
    scorer = evaluation.scorer
    if not scorer:
        return [*COST, *FACTS]
    names = [scorer.fid_name, *SCORES]
    if scorer.compares_classes and scorer.conditional:
        names.insert(1, scorer.intra_fid_name)
    with torch.inference_mode():
        _, logits = scorer.extractor(scorer.reals.__getitems__([0])[0])
    if logits is not None:
        names.append("inception_score")
    if scorer.extractor.knows_classes:
        names += ["conditional_accuracy", "class_distance"] if scorer.conditional else ["class_distance"]
    return [*names, f"{evaluation.objective}_best", *COST, *FACTS]
