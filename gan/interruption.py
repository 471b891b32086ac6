"""What happens when a run is told to end before its time."""

import signal
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Interruption(Callback):
    """Ends training in good order on SIGTERM, as a W&B agent sends to a run that is stopped early.

    The run is scored once more, saved and closed as finished. `interrupted` says whether that happened.
    """

    def __init__(self) -> None:
        self.interrupted, self.previous = False, signal.SIG_DFL

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(*_: Any) -> None:
            self.interrupted = trainer.should_stop = True

        self.previous = signal.signal(signal.SIGTERM, stop)  # in place of Lightning's, which raises

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, self.previous)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        signal.signal(signal.SIGTERM, self.previous)
