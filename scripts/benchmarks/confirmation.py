"""How often a search names the best of the settings it tried, by one seed, by several, and confirmed on fresh ones.

Real runs first: random settings, each with several seeds. Then simulated studies draw from them: the settings in a
random order, and for each run one of its setting's curves, with replacement. The truth is a setting's mean over all of
its runs, so it is known.
"""

import random
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optuna
from rich.table import Table

from gan.run.record import read_history
from gan.system.console import plain_console

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
FOLDER = Path("multirun") / "confirmation"  # not deleted, so that the same command resumes
N_SETTINGS, N_SEEDS = 16, 6
OBJECTIVE = "fid_1k"
RUN = ["hparams_search=random", "hydra/sweeper/pruner=none"]
RUN += ["penalty.r1.gamma=tag(log,interval(0.1,10.0))", "optimizer.lr=tag(log,interval(1e-3,4e-3))"]  # all good ones
RUN += ["experiment=quickstart", "model.generator.width=16", "model.discriminator.width=16", "trainer.max_steps=400"]
RUN += ["trainer.val_check_interval=100", "metrics.n_fakes=1000", f"objective={OBJECTIVE}", "logger=none"]
RUN += [f"hydra.sweep.dir={FOLDER}", "hydra.sweeper.study_name=confirmation", "hydra.sweeper.confirm=0"]
STUDIES = 1000

Curves = list[list[float]]  # of a setting: per run, the objective at each evaluation


class Found(NamedTuple):
    """What a simulated search found: its winner, and its cost in runs of the whole budget."""

    winner: int
    cost: float


def measure(overrides: list[str], turns: int) -> None:
    """Train the settings unless a former command has, and print how well each kind of search does."""
    counts = [f"hydra.sweeper.n_trials={N_SETTINGS}", f"hydra.sweeper.n_seeds={N_SEEDS}"]
    words = [*RUN, *counts, *overrides]
    print("python train.py", shlex.join(words), flush=True)
    subprocess.run([sys.executable, str(TRAIN), *words], check=True)
    plain_console().print(compare_searches(read_curves(FOLDER), random.Random(0), STUDIES))


def read_curves(folder: Path) -> list[Curves]:
    """Return the curves of each setting, of those whose every run is whole."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    settings = []
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        tries = [*trial.system_attrs.get("retry_history", []), trial.number]
        runs = [run for number in tries for run in folder.glob(f"{number}-*") if (run / "metrics.json").is_file()]
        settings.append([[row[OBJECTIVE] for row in read_history(run)] for run in runs])
    length = max(len(curve) for curves in settings for curve in curves)
    return [curves for curves in settings if all(len(curve) == length for curve in curves)]


def search_by_one_seed(settings: list[Curves], draw: random.Random, *, prunes: bool) -> tuple[list[int], float]:
    """Return the settings in the order of one run's last value, and the cost; pruned runs come last."""
    pruner = optuna.pruners.PercentilePruner(25.0) if prunes else optuna.pruners.NopPruner()
    study, values, cost = optuna.create_study(pruner=pruner), {}, 0.0
    for setting, curves in enumerate(settings):
        trial, curve = study.ask(), draw.choice(curves)
        for step, value in enumerate(curve):
            trial.report(value, step)
            cost += 1 / len(curve)
            if step < len(curve) - 1 and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            values[setting] = value
    return sorted(values, key=values.get), cost


def search_by_seeds(settings: list[Curves], draw: random.Random, n_seeds: int) -> tuple[list[int], float]:
    """Return the settings in the order of their mean over seeds, and the cost; a pruner drops settings seed by seed."""
    study = optuna.create_study(pruner=optuna.pruners.PercentilePruner(25.0))
    means, cost = {}, 0.0
    for setting, curves in enumerate(settings):
        trial, values = study.ask(), []
        for seed in range(n_seeds):
            values.append(draw.choice(curves)[-1])
            trial.report(values[-1], seed)
            cost += 1
            if seed < n_seeds - 1 and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            means[setting] = statistics.fmean(values)
            study.tell(trial, means[setting])
    return sorted(means, key=means.get), cost


def confirm(ranked: tuple[list[int], float], settings: list[Curves], draw: random.Random, k: int, n: int) -> Found:
    """Return the best of the first k settings by the mean of n fresh runs, and the cost of both parts."""
    best, cost = ranked[0][:k], ranked[1]
    if not k:
        return Found(ranked[0][0], cost)
    means = {setting: statistics.fmean(draw.choice(settings[setting])[-1] for _ in range(n)) for setting in best}
    return Found(min(means, key=means.get), cost + len(best) * n)


SEARCHES: dict[str, Callable[[list[Curves], random.Random], Found]] = {
    "one seed, unpruned": lambda s, d: confirm(search_by_one_seed(s, d, prunes=False), s, d, 0, 0),
    "one seed": lambda s, d: confirm(search_by_one_seed(s, d, prunes=True), s, d, 0, 0),
    "one seed, best 3 confirmed by 3 seeds": lambda s, d: confirm(search_by_one_seed(s, d, prunes=True), s, d, 3, 3),
    "one seed, best 3 confirmed by 5 seeds": lambda s, d: confirm(search_by_one_seed(s, d, prunes=True), s, d, 3, 5),
    "3 seeds": lambda s, d: confirm(search_by_seeds(s, d, 3), s, d, 0, 0),
    "3 seeds, best 3 confirmed by 5 seeds": lambda s, d: confirm(search_by_seeds(s, d, 3), s, d, 3, 5),
    "5 seeds": lambda s, d: confirm(search_by_seeds(s, d, 5), s, d, 0, 0),
}


def compare_searches(settings: list[Curves], draw: random.Random, studies: int) -> Table:
    """Return a table: how often each kind of search names the best setting, by how much it misses, and its cost."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    truth = [statistics.fmean(curve[-1] for curve in curves) for curves in settings]
    noise = statistics.median(statistics.stdev(curve[-1] for curve in curves) for curves in settings)
    gaps = sorted(truth)
    title = f"{studies:,} studies of {len(settings)} settings; best {gaps[0]:.1f}, second {gaps[1]:.1f}, median "
    title += f"{statistics.median(gaps):.1f}; one seed's standard deviation {noise:.1f} (median)"
    table = Table("search", "names the best", "misses it by", "cost in runs", title=title)
    for name, search in SEARCHES.items():
        found = []
        for _ in range(studies):
            order = draw.sample(range(len(settings)), len(settings))
            winner, cost = search([settings[i] for i in order], draw)
            found.append((truth[order[winner]] - min(truth), cost))
        right = sum(missed == 0 for missed, _ in found) / studies
        missed, cost = (statistics.fmean(column) for column in zip(*found, strict=True))
        table.add_row(name, f"{right:.0%}", f"{missed:.1f}", f"{cost:.1f}")
    return table
