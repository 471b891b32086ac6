"""Which trials count towards a study's total, and which are tried again."""

import copy
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

# a trial's user attributes
FAILURE = "failure"  # why it failed
REFUSED = "refused"  # it failed because of its settings
SURPLUS = "surplus"  # it was asked for, but not run
PRUNED = "pruned_at_step"  # the step at which it was pruned; a key of its W&B run's summary, too
PRUNED_SEEDS = "pruned_after_seeds"  # the number of seeds after which it was pruned
BEAT = "heartbeat"  # another number at each sign of life of its process
# its system attributes
DEATHS = "deaths"  # how many of its tries ended because their process died
SECOND = "second"  # it is the second chance of one that had failed

DIVERGED = "diverged"  # the failure that is a result
CONFIRMS = "confirms"  # a parameter: the number of the trial whose setting is run again

get_history = RetryHeartbeatStaleTrialCallback.retry_history  # the numbers of the tries before


def retry_dead_trial(study: optuna.Study, trial: FrozenTrial, max_retries: int) -> bool:
    """Queue a trial whose process has died, up to `max_retries` times; return whether it is tried again."""
    deaths = trial.system_attrs.get(DEATHS, 0) + 1
    if deaths <= max_retries:
        queue_again(study, trial, **{DEATHS: deaths})
    return deaths <= max_retries


def queue_again(study: optuna.Study, trial: FrozenTrial, **attributes: Any) -> None:
    """Queue a trial as a new one, with its parameters and reports, and with these system attributes beside its own."""
    trial = copy.deepcopy(trial)
    trial.system_attrs |= attributes
    own = (FAILURE, PRUNED, PRUNED_SEEDS, BEAT)  # what the next try says for itself
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name not in own}
    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, trial)


def read_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """Return a copy of a trial as it is in the storage now."""
    return copy.deepcopy(study.get_trials(deepcopy=False)[number])


def is_counted(trial: FrozenTrial) -> bool:
    """Return whether a trial counts towards the study's total: it runs, has a value, was pruned, or diverged."""
    states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
    return trial.state in states or trial.user_attrs.get(FAILURE) == DIVERGED


def has_failed(trial: FrozenTrial) -> bool:
    """Return whether a trial was run, and failed without a result."""
    return trial.state == TrialState.FAIL and not is_counted(trial) and SURPLUS not in trial.user_attrs


def give_second_chances(study: optuna.Study, parameters: set[str]) -> None:
    """Queue the failed trials of former commands once more; those that were refused are drawn anew instead."""
    trials = study.get_trials(deepcopy=False)
    tried = {number for trial in trials for number in get_history(trial)}
    for trial in trials:
        spent = trial.number in tried or REFUSED in trial.user_attrs or SECOND in trial.system_attrs
        if has_failed(trial) and not spent and trial.params.keys() <= parameters:
            queue_again(study, trial, **{SECOND: True})


def is_duplicate(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Return whether another command has queued the same trial again before."""
    history = get_history(trial)
    return bool(history) and any(get_history(other) == history for other in trials[: trial.number])
