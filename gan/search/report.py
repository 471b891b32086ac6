"""What a trial's run tells its study, and what the study tells it."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from gan import tracking
from gan.search.sweeper import PRUNED


class TrialReport(Callback):
    """Reports the objective of trial `number` at each evaluation, and ends the run where the study's pruner says so.

    A run that is pruned is saved and closed as finished, with `pruned_at_step` in its summary; `interrupted` says so.
    """

    def __init__(self, *, study_name: str, storage: str, pruner: Any, number: int, objective: str) -> None:
        self.study_name, self.storage, self.pruner, self.number = study_name, storage, pruner, number
        self.objective, self.interrupted = objective, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < trainer.estimated_stepping_batches:
            prune = trainer.is_global_zero and self.report(trainer)
            if trainer.strategy.broadcast(prune):
                self.interrupted = trainer.should_stop = True

    def report(self, trainer: Trainer) -> bool:
        """Return whether the study gives this trial up, and leave word of it."""
        import optuna

        study = optuna.load_study(study_name=self.study_name, storage=self.storage, pruner=self.pruner)
        if len(study.directions) > 1:  # no pruner compares these
            return False
        trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[self.number]._trial_id)
        trial.report(float(trainer.callback_metrics[self.objective]), trainer.global_step)
        if not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED, trainer.global_step)
        tracking.summarise(trainer.logger, {PRUNED: trainer.global_step})
        return True
