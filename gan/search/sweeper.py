"""Hydra sweeper for Optuna studies that are resumed, asynchronous and pruned; a trial that fails fails alone."""

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gan.errors import InputError, exit_in_one_line
from gan.launch.jobs import run_in_threads


class StudySweeper(Sweeper):
    """Runs `n_trials` of a study in all, however often and on however many machines it is started.

    Each of `n_jobs` workers takes a trial, launches it as a job that has the trial's number, and takes the next at
    once. A trial fails alone, by an exception or a value that is not finite; one whose process dies is tried again up
    to `max_retries` times. Workers give a sign of life every `heartbeat_s`; after three missed ones any other worker
    tries their trials again, from the last checkpoint. `max_failures` in a row end the command, and the next
    one tries failed trials again. `storage` is a database's URL or the path of a file, an Optuna journal. The other
    arguments are hydra-optuna-sweeper's, and `pruner` is one of Optuna's.
    """

    def __init__(
        self,
        *,
        study_name: str,
        storage: str,
        sampler: DictConfig,
        pruner: DictConfig,
        direction: str | Sequence[str],
        n_trials: int,
        n_jobs: int,
        heartbeat_s: int,
        max_retries: int,
        max_failures: int,
        params: DictConfig | None,
    ) -> None:
        directions = [direction] if isinstance(direction, str) else list(direction)
        self.name, self.storage, self.n_trials, self.n_jobs = study_name, storage, n_trials, n_jobs
        self.heartbeat_s, self.limits = heartbeat_s, {"max_retries": max_retries, "max_failures": max_failures}
        self.options = {"sampler": sampler, "pruner": pruner, "directions": directions}
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader
        context = {"config": config, "hydra_context": hydra_context, "task_function": task_function}
        self.launcher = Plugins.instance().instantiate_launcher(**context)
        self.in_process = config.hydra.runtime.choices["hydra/launcher"] == "basic"
        if self.in_process:
            logging.getLogger(type(self.launcher).__module__).setLevel(logging.WARNING)  # it repeats all overrides
        if self.n_jobs > 1 and self.in_process:
            sys.exit(
                f"error: hydra.sweeper.n_jobs={self.n_jobs}: Hydra's basic launcher runs one job at a time; "
                "add hydra/launcher=local, or leave n_jobs at 1"
            )

    def compose(self, words: list[str]) -> DictConfig:
        """Return the config of a run with these overrides."""
        return self.loader.load_sweep_config(self.config, words)

    def sweep(self, arguments: list[str]) -> None:
        from gan.search.summary import show_results, show_running_trials, show_study
        from gan.search.workers import StudyEnded

        objectives = [self.config.objective, self.config.second_objective]
        with exit_in_one_line():
            require_objectives(objectives, self.options["directions"])
            space, study, workers = self.prepare(arguments, [name for name in objectives if name])
        show_study(study, workers.n_trials)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if self.in_process:  # in the main thread, where a run takes signals, below its progress bar
                workers.work()
            else:
                with show_running_trials(study, workers.n_trials):
                    run_in_threads(lambda _: workers.work(), range(self.n_jobs), n_threads=self.n_jobs)
        except KeyboardInterrupt:
            sys.exit("study stopped; the same command resumes it, first with the trials that were running")
        except (StudyEnded, InputError) as error:
            sys.exit(f"error: {error}")
        show_results(study, workers.folder, space, objectives)
        if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            sys.exit(f"error: no trial has ended with a value; the last one {workers.last_failure or 'diverged'}")
        if workers.failed:
            print(f"{len(workers.failed)} trials failed; the same command tries them again")

    def prepare(self, arguments: list[str], objectives: list[str]) -> tuple[Any, Any, Any]:
        """Return the search's space, its study and the workers on it; raise InputError for what can't be searched."""
        from gan.search.heartbeat import Heartbeats
        from gan.search.setting import collect_setting
        from gan.search.space import Space
        from gan.search.storage import resolve_storage
        from gan.search.study import open_study
        from gan.search.workers import Workers

        words = [*(f"{name}={value}" for name, value in self.params.items()), *arguments]
        space = Space(words, self.compose, groups=self.config.hydra.runtime.choices)
        is_grid = self.options["sampler"].get("_partial_")  # it waits for the values of the parameters
        cells = space.list_cells() if is_grid else None
        folder = Path(self.config.hydra.sweep.dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        study, storage = open_study(
            self.name,
            resolve_storage(self.storage, Path.cwd()),  # a run may change the folder (hydra.job.chdir)
            parameters=space.parameters,
            setting=collect_setting(space),
            cells=cells,
            objectives=objectives,
            **self.options,
        )
        workers = Workers(
            study,
            self.launcher,
            heartbeats=Heartbeats(study, storage, interval_s=self.heartbeat_s),
            space=space,
            folder=folder,
            n_trials=min(self.n_trials, len(cells)) if is_grid else self.n_trials,
            **self.limits,
        )
        return space, study, workers


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
