"""What a study prints: one line per trial, and at its end the best one, its command, plots and a file of results."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Group
from rich.live import Live
from rich.text import Text

from gan.run.display import format_parameter, format_score, score_label
from gan.search.confirmation import Confirmed, build_confirmation_table
from gan.search.setting import list_budget
from gan.search.trials import CONFIRMS
from gan.system.console import plain_console

RESULTS = "optimization_results.yaml"


def show_study(study: Any, n_trials: int) -> None:
    """Print the study's name and how many of its trials are done."""
    from gan.search.trials import is_counted

    done = sum(trial.state.is_finished() and is_counted(trial) for trial in study.get_trials(deepcopy=False))
    plain_console().print(f"study {study.study_name}: {n_trials} trials, {done} of them done", soft_wrap=True)


def show_trial(study: Any, number: int, ending: str, values: list[float] | None = None) -> None:
    """Print a trial that has just ended: its parameters, value and ending, and the best value so far."""
    trials = study.get_trials(deepcopy=False)
    words = [
        f"trial {number}",
        join_parameters(trials[number]),
        " ".join(f"{value:.2f}" for value in values or []),
        ending,
    ]
    if len(study.directions) == 1 and CONFIRMS not in trials[number].params:
        ended = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
        ended += values if values and not ending else []
        words.append(f"best {min(ended):.2f}" if ended else "")
    plain_console().print("  ".join(filter(None, words)), soft_wrap=True)


@contextmanager
def show_running_trials(study: Any, n_trials: int) -> Iterator[None]:
    """Show one line per running trial below a terminal's other lines: parameters, last score, the best so far."""
    console = plain_console()
    if not console.is_terminal:
        yield
        return

    def lines() -> Group:
        trials = study.get_trials(deepcopy=False)
        values = [trial.value for trial in trials if trial.state.name == "COMPLETE" and len(study.directions) == 1]
        rows = [format_progress(trial) for trial in trials if trial.state.name == "RUNNING"]
        done = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)
        rows.append(f"{done} of {n_trials} trials done" + (f", best {min(values):.2f}" if values else ""))
        return Group(*(Text(row, style="dim", no_wrap=True, overflow="ellipsis") for row in rows))

    with Live(get_renderable=lines, console=console, refresh_per_second=1, transient=True):
        yield


def format_progress(trial: Any) -> str:
    """Return a running trial's parameters, last evaluation and score in one line."""
    evaluation, value = max(trial.intermediate_values.items(), default=(0, None))
    return f"trial {trial.number}  {join_parameters(trial)}  " + (
        "..." if value is None else f"evaluation {evaluation}: {value:.2f}"
    )


def join_parameters(trial: Any) -> str:
    """Return a trial's parameters in one line."""
    return " ".join(f"{name}={format_parameter(value)}" for name, value in trial.params.items())


def show_results(
    study: Any, folder: Path, space: Any, objectives: list[str], confirmed: Sequence[Confirmed] = ()
) -> None:
    """Print the best trials' commands; write their parameters, and plots of the study, into its folder.

    The winner is the best of the settings that were `confirmed` on fresh seeds, if there are any.
    """
    console = plain_console()
    confirmed = [setting for setting in confirmed if setting.values]
    best = [setting.trial for setting in confirmed[:1]] or study.best_trials
    if not best:
        return
    if len(study.directions) == 1:
        results = {"name": "optuna", "best_params": best[0].params, "best_value": best[0].value}
        if confirmed:
            results |= {"best_value": confirmed[0].mean, "confirmed": [setting.describe() for setting in confirmed]}
            console.print(build_confirmation_table(confirmed, objectives[0]))
    else:
        solutions = [{"params": trial.params, "values": trial.values} for trial in best]
        results = {"name": "optuna", "solutions": solutions}
    OmegaConf.save(OmegaConf.create(results), folder / RESULTS)
    for trial in best[:1] if len(study.directions) == 1 else sorted(best, key=lambda trial: trial.values):
        named = zip(filter(None, objectives), [results["best_value"]] if confirmed else trial.values, strict=True)
        values = ", ".join(
            f"{score_label(name)} {format_score(name, int(v) if v.is_integer() else v)}" for name, v in named
        )
        overrides = [
            word for word in space.list_overrides(trial.params) if not word.startswith(("hparams_search=", "hydra"))
        ]
        words = ["python", "train.py", *overrides, *list_budget(study, overrides)]
        on = f" on {len(confirmed[0].values)} fresh seeds" if confirmed else ""
        console.print(f"best: trial {trial.number}, {values}{on}\n  {shlex.join(words)}", soft_wrap=True)
    for path in [folder / RESULTS, *draw_plots(study, folder, [score_label(name) for name in objectives if name])]:
        console.print(f"  {path}", soft_wrap=True)


def draw_plots(study: Any, folder: Path, names: list[str]) -> list[Path]:
    """Draw the scores over trials and the parameters' importance, or the Pareto front of several objectives."""
    import warnings

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from optuna.visualization import matplotlib as draw

    several = len(study.directions) > 1
    ended = sum(trial.state.name == "COMPLETE" for trial in study.trials)
    drawings = {
        "pareto_front": partial(draw.plot_pareto_front, target_names=names) if several else None,
        "history": partial(draw.plot_optimization_history, target_name=names[0]) if not several else None,
        "importance": partial(draw.plot_param_importances, target_name=names[0]) if not several and ended > 1 else None,
    }
    paths = []
    for name, drawing in drawings.items():
        if not drawing:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of plots that Optuna calls experimental
            axes = drawing(study)
        if name == "history" and study.best_value > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        paths.append(folder / f"{name}.png")
        axes.figure.savefig(paths[-1], dpi=150, bbox_inches="tight")
        plt.close(axes.figure)
    return paths
