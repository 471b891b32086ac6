"""What a search can't do, refused in one line before its first trial."""

from collections.abc import Mapping, Sequence
from typing import Any

from gan.errors import InputError

BY_STEP, BY_SEED = "optuna.pruners.HyperbandPruner", "optuna.pruners.WilcoxonPruner"  # what these compare trials by


def require_objectives(objectives: list[str | None], directions: list[str]) -> None:
    """Raise InputError unless there is a direction for each objective, and the first is a distance to be made small."""
    given = [name for name in objectives if name]
    if objectives[0] is None:
        raise InputError("objective=null: a study needs a score to compare; leave out metrics=none")
    if len(given) != len(directions):
        raise InputError(
            f"hydra.sweeper.direction={directions}: must have one for each of {', '.join(given)}"
            " (second_objective= names the second)"
        )
    if unknown := {*directions} - {"minimize", "maximize"}:
        raise InputError(f"hydra.sweeper.direction={unknown.pop()}: must be minimize or maximize")
    if directions[0] == "maximize":
        raise InputError(f"hydra.sweeper.direction=maximize: {given[0]} is a distance, better where it is smaller")


def require_counts(*, n_seeds: int, confirm: int, confirm_seeds: int) -> None:
    """Raise InputError for numbers of seeds or settings that are no such numbers."""
    least = {"n_seeds": (n_seeds, 1), "confirm": (confirm, 0), "confirm_seeds": (confirm_seeds, 1)}
    for name, (value, low) in least.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise InputError(f"hydra.sweeper.{name}={value}: must be a whole number of at least {low}")


def require_comparable(
    pruner: Mapping[str, Any], objectives: Sequence[str | None], *, n_seeds: int, confirm: int
) -> None:
    """Raise InputError for seeds of a search with two objectives, and for a pruner that can't compare its trials."""
    for name, value, off in (("n_seeds", n_seeds, 1), ("confirm", confirm, 0)):
        if objectives[-1] and len(objectives) > 1 and value != off:
            raise InputError(f"hydra.sweeper.{name}={value}: needs a single objective; must be {off} here")
    if n_seeds == 1 and pruner.get("_target_") == BY_SEED:
        raise InputError(
            "hydra/sweeper/pruner=wilcoxon: compares trials on the same seeds; add hydra.sweeper.n_seeds=5, or use "
            "percentile, median, hyperband or none"
        )
    if n_seeds > 1 and pruner.get("_target_") == BY_STEP:
        raise InputError(
            f"hydra.sweeper.n_seeds={n_seeds}: hyperband compares trials by steps, but these trials are compared seed "
            "by seed; use hydra/sweeper/pruner=percentile, median, wilcoxon or none"
        )


def require_seeds(seed: int | None, *, is_searched: bool, n_seeds: int, confirm: int) -> None:
    """Raise InputError for seeds of trials or confirmations where the search or each run draws its own."""
    for name, value, off in (("n_seeds", n_seeds, 1), ("confirm", confirm, 0)):
        if value != off and is_searched:
            raise InputError(f"hydra.sweeper.{name}={value}: this search draws the seed itself; must be {off} here")
    if n_seeds > 1 and seed is None:
        raise InputError(f"seed=null: must be the first of hydra.sweeper.n_seeds={n_seeds} seeds, such as 0")
