"""The state of a run that its callbacks share, for the run's outputs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pytorch_lightning import Callback
from torch import Tensor


@dataclass
class RunState:
    """The state of one run, shared by its callbacks.

    `evaluated_at` is the step of the last evaluation (-1: none yet); `seconds` are those of training, evaluations
    included; `collapsed` says that the samples of some evaluation were nearly alike; `stops_early` that the run ends
    before its budget, by a signal or its study's pruner; `is_trial` that a study reports its result. `cost` holds
    parameters and FLOPs by name, `pictures` a row of samples (3, H, W) in [0, 1] for each class.
    """

    evaluated_at: int = -1
    seconds: float = 0.0
    diverged: bool = False
    collapsed: bool = False
    stops_early: bool = False
    is_trial: bool = False
    cost: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)


class RunCallback(Callback):
    """A callback that reads and writes the state of its run."""

    def __init__(self) -> None:
        self.run = RunState()


def share_state(callbacks: Iterable[Callback]) -> RunState:
    """Give these callbacks one RunState, and return it."""
    run = RunState()
    for callback in callbacks:
        if isinstance(callback, RunCallback):
            callback.run = run
    return run
