"""Evaluation during training: scores, their history, and the best checkpoint."""

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.distributed import any_process
from gan.errors import Diverged, InputError
from gan.metrics.protocol import hash_protocol
from gan.metrics.scorer import Scorer
from gan.system.files import write_whole
from gan.system.run_folder import BEST, HISTORY

log = logging.getLogger(__name__)


class Evaluation(RunCallback):
    """Scores samples at each validation, and logs the scores and the lowest objective so far, `{objective}_best`.

    `scores` holds the last scores. The objective is one of the scorer's `objectives`, such as FID by its name for this
    number of fakes (fid, fid_2k), and None without a scorer. Each evaluation adds a line to history.jsonl in the run's
    `folder`, and the best one so far is saved as checkpoints/best.ckpt. A run that is resumed with another objective or
    protocol starts its search for the best anew. The first evaluation whose samples have collapsed, see the scorer's
    `find_collapse`, is warned of, and marked in W&B's summary as `collapsed`.
    Raises InputError for any other objective, and Diverged for samples that are not finite.
    """

    def __init__(self, scorer: Scorer | None, *, objective: str | None, folder: Path | None = None) -> None:
        super().__init__()
        allowed = scorer.objectives if scorer else (None,)
        if objective not in allowed:
            allowed = " or ".join(map(str, allowed))
            raise InputError(f"objective={objective}: this run measures {allowed} (see metrics and metrics.n_fakes)")
        self.scorer, self.objective, self.folder = scorer, objective, folder
        self.scores: dict[str, float] = {}
        self.best, self.started, self.training = math.inf, time.monotonic(), False
        self.first_at: int | None = None  # step of the first evaluation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.scorer:
            self.scorer.measure_reals(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.training = time.monotonic() - self.run.seconds, True  # time before a resume counts
        if self.folder and trainer.is_global_zero:
            truncate_history(self.folder / HISTORY, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.run.seconds, self.training = self.elapsed(), False

    def elapsed(self) -> float:
        """Return the seconds of training so far, with evaluations and the time before a resume."""
        return time.monotonic() - self.started if self.training else self.run.seconds

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finite = True
        if self.scorer:
            self.scorer.reset()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor, batch: Any, *_: Any
    ) -> None:
        self.finite &= bool(torch.isfinite(outputs).all())
        if self.scorer and self.finite:
            self.scorer.update(outputs, batch[1])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if any_process(not self.finite):
            raise Diverged(f"the generator's samples are not finite at step {trainer.global_step}")
        self.run.evaluated_at, self.improved = trainer.global_step, False
        if not self.scorer:
            return
        before, self.scores = self.scores, self.scorer.compute()
        self.first_at = trainer.global_step if self.first_at is None else self.first_at
        self.warn_of_collapse(trainer, before)
        self.improved = self.scores[self.objective] < self.best
        self.best = min(self.best, self.scores[self.objective])
        self.scores[f"{self.objective}_best"] = self.best
        axes = {"step": self.run.evaluated_at, "images_seen": int(pl_module.images_seen), "seconds": self.elapsed()}
        pl_module.log_dict(self.scores | {name: float(value) for name, value in axes.items()})
        if self.folder and trainer.is_global_zero:
            truncate_history(self.folder / HISTORY, trainer.global_step - 1)  # a resume may repeat this step
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(axes | self.scores) + "\n")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.folder and self.improved:
            trainer.save_checkpoint(self.folder / BEST)

    def warn_of_collapse(self, trainer: Trainer, before: dict[str, float]) -> None:
        """Warn once in a run if its samples have collapsed; `before` are the scores of the evaluation before."""
        if self.run.collapsed or not trainer.is_global_zero:  # the first process has the floor, and saves the state
            return
        if reason := self.scorer.find_collapse(self.scores, before):
            self.run.collapsed = True
            step = f"{trainer.global_step:,}"
            log.warning("mode collapse: the samples at step %s have little variety: %s", step, reason)
            tracking.log_summary(trainer.logger, {"collapsed": True})

    def record_divergence(self, reason: str) -> None:
        """Set the run's objective to inf."""
        log.warning("diverged: %s", reason)
        self.run.diverged, self.run.seconds, self.training = True, self.elapsed(), False
        self.scores |= {self.objective: math.inf, f"{self.objective}_best": self.best} if self.objective else {}

    @property
    def has_selected(self) -> bool:
        """Whether the best evaluation is one of several, or is not the run's end because it diverged."""
        return self.first_at != self.run.evaluated_at or self.run.diverged

    def measure(self) -> str:
        """Return the objective and the protocol by which `best` is the best."""
        return f"{self.objective}, protocol {hash_protocol(self.scorer.protocol)}" if self.scorer else ""

    def state_dict(self) -> dict[str, Any]:
        own = {"best": self.best, "measure": self.measure(), "seconds": self.elapsed()}
        return own | {"collapsed": self.run.collapsed, "first_at": self.first_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.run.seconds, self.run.collapsed = state_dict["seconds"], state_dict.get("collapsed", False)
        if state_dict.get("measure") == self.measure():
            self.best, self.first_at = state_dict["best"], state_dict.get("first_at", 0)


def truncate_history(path: Path, step: int) -> None:
    """Remove evaluations after a step, and a half-written last line, from a history: a resumed run repeats them."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        write_whole(path, "".join(kept))
