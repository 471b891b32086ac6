"""What a trial's run tells its study, and what the study tells it."""

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

    A run that is pruned is saved and closed as finished, with `pruned_at_step` in its summary.
    """

    def __init__(self, *, study_name: str, storage: str, folder: str, pruner: Any, number: int, objective: str) -> None:
        super().__init__()
        from gan.search.storage import find_absolute

        self.study_name, self.storage = study_name, find_absolute(storage, folder)
        self.pruner, self.number = pruner, number
        self.objective = objective

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.run.is_trial = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tracking.add_to_config(trainer.logger, {"study": self.study_name, "trial": self.number})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < trainer.estimated_stepping_batches:
            ends = trainer.is_global_zero and self.reported(trainer)
            if trainer.strategy.broadcast(ends):
                self.run.stops_early = trainer.should_stop = True

    def reported(self, trainer: Trainer) -> bool:
        """Report, and return whether the run is to end; a study out of reach for a while ends nothing."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self.report(trainer)
        except (SQLAlchemyError, StorageInternalError, InputError, OSError) as error:
            log.warning("the study does not hear of step %d: %s", trainer.global_step, str(error).splitlines()[0])
            return False

    def report(self, trainer: Trainer) -> bool:
        """Return whether the study gives this trial up, and leave word of it."""
        import optuna

        from gan.search import storage

        place = storage.opened(self.storage)
        study = optuna.load_study(study_name=self.study_name, storage=place, pruner=self.pruner)
        known = study.get_trials(deepcopy=False)[self.number]
        if known.state.is_finished():
            log.warning("trial %d is over: nobody waits for this run, which ends", self.number)
            return True
        if len(study.directions) > 1:  # no pruner compares these
            return False
        trial = optuna.trial.Trial(study, known._trial_id)
        trial.report(float(trainer.callback_metrics[self.objective]), trainer.global_step)
        if not trial.should_prune():
            return False
        trial.set_user_attr(PRUNED, trainer.global_step)
        tracking.summarise(trainer.logger, {PRUNED: trainer.global_step})
        return True
