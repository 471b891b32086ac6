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
from omegaconf import DictConfig, OmegaConf

from gan.errors import InputError, exit_in_one_line
from gan.launch.jobs import run_in_threads
from gan.run.effects import has_key
from gan.search.checks import require_comparable, require_counts, require_objectives, require_seeds


class StudySweeper(Sweeper):
    """Runs `n_trials` of a study in all, however often and on however many machines it is started.

    Each of `n_jobs` workers takes a trial, launches it as a job that has the trial's number, and takes the next at
    once. A trial fails alone, by an exception or a value that is not finite; one whose process dies is tried again up
    to `max_retries` times. Workers give a sign of life every `heartbeat_s`; after three missed ones any other worker
    tries their trials again, from the last checkpoint. `max_failures` in a row end the command, and the next
    one tries failed trials again.

    A trial trains its setting with `n_seeds` seeds, and its value is their mean. At the end the best `confirm` settings
    are trained with `confirm_seeds` fresh seeds each, and the best of these means wins. `storage` is a database's URL
    or the path of a file, an Optuna journal. The other arguments are hydra-optuna-sweeper's, and `pruner` is one of
    Optuna's.
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
        n_seeds: int,
        confirm: int,
        confirm_seeds: int,
        params: DictConfig | None,
    ) -> None:
        directions = [direction] if isinstance(direction, str) else list(direction)
        self.name, self.storage, self.n_trials, self.n_jobs = study_name, storage, n_trials, n_jobs
        self.n_seeds, self.confirm, self.confirm_seeds = n_seeds, confirm, confirm_seeds
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
        from gan.search.summary import show_results
        from gan.search.workers import StudyEnded

        objectives = [self.config.objective, self.config.second_objective]
        with exit_in_one_line():
            require_objectives(objectives, self.options["directions"])
            require_counts(n_seeds=self.n_seeds, confirm=self.confirm, confirm_seeds=self.confirm_seeds)
            require_comparable(self.options["pruner"], objectives, n_seeds=self.n_seeds, confirm=self.confirm)
            space, study, workers = self.prepare(arguments, [name for name in objectives if name])
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.run(study, workers)
            confirmed = self.run_confirmation(space, study, workers) if self.confirm else []
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)  # a second one does not wait for the runs' processes
            sys.exit("study stopped; the same command resumes it, first with the trials that were running")
        except (StudyEnded, InputError) as error:
            sys.exit(f"error: {error}")
        show_results(study, workers.folder, space, objectives, confirmed)
        if not any(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)):
            sys.exit(f"error: no trial has ended with a value; the last one {workers.last_failure or 'diverged'}")
        if workers.failed:
            print(f"{len(workers.failed)} trials failed; the same command tries them again")

    def run(self, study: Any, workers: Any) -> None:
        """Run all trials of a study."""
        from gan.search.summary import show_running_trials, show_study

        show_study(study, workers.n_trials)
        if self.in_process:  # in the main thread, where a run takes signals, below its progress bar
            workers.work()
        else:
            with show_running_trials(study, workers.n_trials):
                run_in_threads(lambda _: workers.work(), range(self.n_jobs), n_threads=self.n_jobs)

    def prepare(self, arguments: list[str], objectives: list[str]) -> tuple[Any, Any, Any]:
        """Return the search's space, its study and the workers on it; raise InputError for what can't be searched."""
        from gan.search.setting import N_SEEDS, collect_setting
        from gan.search.space import Space

        words = [*(f"{name}={value}" for name, value in self.params.items()), *arguments]
        space = Space(words, self.compose, groups=self.config.hydra.runtime.choices)
        self.seed = space.compose(space.get_setting(space.choose_first()).words).seed
        require_seeds(self.seed, is_searched="seed" in space.parameters, n_seeds=self.n_seeds, confirm=self.confirm)
        is_grid = self.options["sampler"].get("_partial_")  # it waits for the values of the parameters
        cells = space.list_cells() if is_grid else None
        study, workers = self.open(
            self.name,
            space,
            Path(self.config.hydra.sweep.dir).absolute(),
            cells=cells,
            setting=collect_setting(space) | ({N_SEEDS: self.n_seeds} if self.n_seeds > 1 else {}),
            objectives=objectives,
            n_trials=min(self.n_trials, len(cells)) if is_grid else self.n_trials,
            seeds=[self.seed + i for i in range(self.n_seeds)] if self.n_seeds > 1 else [],
            **self.options,
        )
        return space, study, workers

    def run_confirmation(self, space: Any, study: Any, workers: Any) -> list[Any]:
        """Train the best settings of a study with fresh seeds, and return them with their values, the best first."""
        from gan.run.record import CONFIRMED_SUFFIX
        from gan.search import confirmation
        from gan.search.trials import CONFIRMS, is_counted

        best = confirmation.choose_best(study, self.confirm)
        if not best:
            return []
        first = (self.seed or 0) + self.n_seeds
        cells = confirmation.list_cells(best, [*range(first, first + self.confirm_seeds)])
        subdir = OmegaConf.to_container(self.config.hydra.sweep)["subdir"]
        words = space.get_setting(space.choose_first()).words
        has_reports = has_key(space.compose(words), "callbacks.search")
        confirming, others = self.open(
            study.study_name + CONFIRMED_SUFFIX,
            confirmation.ConfirmationSpace(study, space, subdir=subdir, has_reports=has_reports),
            workers.folder / confirmation.FOLDER,
            cells=cells,
            setting={CONFIRMS: study.study_name},
            objectives=[self.config.objective],
            sampler={},
            pruner=OmegaConf.create({"_target_": "optuna.pruners.NopPruner"}),
            directions=self.options["directions"],
        )
        trials = confirming.get_trials(deepcopy=False)
        others.n_trials = len(cells) + sum(is_counted(trial) and trial.params not in cells for trial in trials)
        self.run(confirming, others)
        return confirmation.collect_confirmed(confirming, best)

    def open(
        self,
        name: str,
        space: Any,
        folder: Path,
        *,
        n_trials: int = 0,
        seeds: Sequence[int] = (),
        **options: Any,
    ) -> tuple[Any, Any]:
        """Return the study of a name, and its workers."""
        from gan.search.heartbeat import Heartbeats
        from gan.search.storage import resolve_storage
        from gan.search.study import open_study
        from gan.search.workers import Workers

        folder.mkdir(parents=True, exist_ok=True)
        location = resolve_storage(self.storage, Path.cwd())  # a run may change the folder (hydra.job.chdir)
        study, storage = open_study(name, location, parameters=space.parameters, **options)
        heartbeats = Heartbeats(study, storage, interval_s=self.heartbeat_s)
        counts = {"n_trials": n_trials, "seeds": seeds}
        return study, Workers(
            study, self.launcher, heartbeats=heartbeats, space=space, folder=folder, **counts, **self.limits
        )
