"""A trial's run reports its scores to the study, and ends where the study prunes it."""

import logging
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.errors import InputError
from gan.search.trials import PRUNED

log = logging.getLogger(__name__)


class TrialReport(RunCallback):
    """Reports the objective of trial `number` at each evaluation, and ends the run where the study's pruner says so.

    A run that is pruned is saved and closed as finished, with `pruned_at_step` in its summary. Where the study
    compares seeds, runs report nothing, and are not pruned. `trial` is the number that W&B gets.
    """

    def __init__(
        self,
        *,
        study_name: str,
        storage: str,
        folder: str,
        pruner: Any,
        number: int,
        objective: str,
        trial: int,
    ) -> None:
        from gan.search.storage import resolve_storage

        super().__init__()
        self.study_name, self.storage = study_name, resolve_storage(storage, folder)
        self.pruner, self.number = pruner, number
        self.objective, self.trial = objective, trial

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.run.is_trial = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tracking.log_config(trainer.logger, {"study": self.study_name, "trial": self.trial})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < trainer.estimated_stepping_batches:
            ends = trainer.is_global_zero and self.try_report(trainer)
            if trainer.strategy.broadcast(ends):
                self.run.stops_early = trainer.should_stop = True

    def try_report(self, trainer: Trainer) -> bool:
        """Report, and return whether the run must end; a storage that is out of reach for a while ends nothing."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self.report_score(trainer)
        except (SQLAlchemyError, StorageInternalError, InputError, OSError) as error:
            log.warning("step %d is not reported to the study: %s", trainer.global_step, str(error).splitlines()[0])
            return False

    def report_score(self, trainer: Trainer) -> bool:
        """Report the objective; return whether the study prunes this trial, and record it if so."""
        import optuna

        from gan.search.setting import compares_seeds
        from gan.search.storage import open_storage

        storage = open_storage(self.storage)
        study = optuna.load_study(study_name=self.study_name, storage=storage, pruner=self.pruner)
        if study.get_trials(deepcopy=False)[self.number].state.is_finished():
            log.warning("trial %d is over: no command waits for this run, which ends", self.number)
            return True
        if compares_seeds(study) or len(study.directions) > 1:  # no pruner compares several values
            return False
        study_id = storage.get_study_id_from_name(self.study_name)
        trial = optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, self.number))
        trial.report(float(trainer.callback_metrics[self.objective]), trainer.global_step)
        if not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED, trainer.global_step)
        tracking.log_summary(trainer.logger, {PRUNED: trainer.global_step})
        return True
