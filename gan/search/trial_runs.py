"""The runs of trials: one each, or one per seed, and what becomes of a trial whose run raises or dies."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import optuna
from hydra.plugins.launcher import Launcher
from optuna.trial import Trial

from gan.errors import Preempted, ProcessDied
from gan.search.retries import copy_run_files, record_reason
from gan.search.seeds import SeedRuns
from gan.search.space import Space
from gan.search.summary import show_trial
from gan.search.trials import PRUNED_SEEDS, get_history, queue_again, read_trial, retry_dead_trial


class TrialFailed(RuntimeError):
    """A trial has failed; the study continues."""


class TrialRuns:
    """Launches the runs of a study's trials as jobs; `lock` is held while a trial draws its parameters."""

    def __init__(
        self,
        study: optuna.Study,
        launcher: Launcher,
        *,
        space: Space,
        folder: Path,
        max_retries: int,
        seeds: Sequence[int],
        lock: threading.Lock,
    ) -> None:
        self.study, self.launcher, self.space = study, launcher, space
        self.folder, self.max_retries, self.seeds, self.lock = folder, max_retries, seeds, lock
        self.shared: list[SeedRuns] = []  # of the trials that run

    def launch(self, trial: Trial) -> tuple[list[float], str]:
        """Launch a trial's runs, and return its values or why it failed.

        Raises TrialFailed for a process that has died, and KeyboardInterrupt at Ctrl-C; both are tried again.
        """
        with self.lock:  # one worker at a time, so that a seed draws the same trials whichever is first
            words = self.space.draw_overrides(trial)
        if not any(word.startswith("ckpt_path=") for word in words):
            words.append("ckpt_path=last")
        try:
            for before in get_history(read_trial(self.study, trial.number))[-1:]:
                copy_run_files(self.folder, before, trial.number)
            return self.run_seeds(trial, words) if len(self.seeds) > 1 else self.run_job(trial.number, words), ""
        except optuna.TrialPruned:
            return [], ""
        except BaseException as error:
            ended = KeyboardInterrupt | Preempted
            if isinstance(error, ended) or isinstance(error.__context__, ended):  # which Lightning turns into an exit
                queue_again(self.study, read_trial(self.study, trial.number))
                raise KeyboardInterrupt from error
            if isinstance(error, ProcessDied) and retry_dead_trial(
                self.study, read_trial(self.study, trial.number), self.max_retries
            ):
                show_trial(self.study, trial.number, f"{error}; it is tried again")
                raise TrialFailed(str(error)) from error
            return [], f"failed: {record_reason(trial, error)}"

    def run_job(self, number: int, words: list[str]) -> list[float]:
        """Run one job and return its values."""
        (job,) = self.launcher.launch([words], initial_job_idx=number)
        returned = job.return_value
        return [float(value) for value in (returned if isinstance(returned, list | tuple) else [returned])]

    def run_seeds(self, trial: Trial, words: list[str]) -> list[float]:
        """Run a trial's seeds, some of which other workers may take, and return their mean; may raise TrialPruned."""
        runs = SeedRuns(trial, words, self.seeds, read_trial(self.study, trial.number).intermediate_values)
        with self.share(runs):
            while (seed := runs.take()) is not None:
                runs.run(seed, partial(self.run_job, trial.number))
            try:
                return [runs.wait_for_mean()]
            except optuna.TrialPruned:
                trial.set_user_attr(PRUNED_SEEDS, len(runs.values))
                raise

    @contextmanager
    def share(self, runs: SeedRuns) -> Iterator[None]:
        """Let workers without a trial take seeds of these runs while the block runs."""
        self.shared.append(runs)
        try:
            yield
        finally:
            self.shared.remove(runs)

    def run_seed_of_another_trial(self) -> bool:
        """Run a seed that a trial of this process has not begun yet; return whether there was one."""
        for runs in [*self.shared]:
            if (seed := runs.take()) is not None:
                runs.run(seed, partial(self.run_job, runs.trial.number))
                return True
        return False
