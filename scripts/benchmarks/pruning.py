"""A search with pruning compared with the same search without: images used, and the best setting that each finds."""

import json
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import yaml
from rich.table import Table

from gan.system.console import plain_console

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
FOLDER = Path("multirun") / "pruning"  # not deleted, so that the same command resumes
SEEDS = "1,2,3,4,5"  # of the runs that train the best settings again
OBJECTIVE = "fid_1k"
RUN = ["experiment=quickstart", "penalty=r1"]
RUN += ["model.generator.width=16", "model.discriminator.width=16", "trainer.max_steps=300"]
RUN += ["trainer.val_check_interval=30", "metrics.n_fakes=1000", f"objective={OBJECTIVE}", "logger=none"]
RUN += ["hydra/launcher=local"]
PRUNERS = {
    "percentile": ["hydra.sweeper.pruner.n_warmup_steps=60"],  # at the first evaluation little is learned yet
    "none": [],
}


def measure(overrides: list[str], turns: int) -> None:
    """Run hparams_search=optuna both ways with sampler seeds 0 to `turns` - 1, and train the best settings again."""
    rows = {(turn, name): run_search(turn, name, overrides) for turn in range(turns) for name in PRUNERS}
    title = f"best settings are trained again with seeds {SEEDS}"
    table = Table("sampler", "pruner", "images", "best trial", "again", "pruned", "failed", title=title)
    for (turn, name), row in rows.items():
        again = f"{statistics.mean(row['again']):.1f} ± {statistics.stdev(row['again']):.1f}"
        states = [str(row["states"].count(state)) for state in ("PRUNED", "FAIL")]
        table.add_row(str(turn), name, f"{row['images']:,}", f"{row['best']:.1f}", again, *states)
    plain_console().print(table)
    pairs = [(rows[turn, "percentile"], rows[turn, "none"]) for turn in range(turns)]
    shares = [pruned["images"] / whole["images"] for pruned, whole in pairs]
    print(f"images with pruning: {statistics.mean(shares):.0%} of those without; by turn", format_percentages(shares))
    differences = [statistics.mean(pruned["again"]) - statistics.mean(whole["again"]) for pruned, whole in pairs]
    shown = ", ".join(f"{difference:+.1f}" for difference in differences)
    noise = statistics.mean(statistics.stdev(row["again"]) for row in rows.values())
    print(f"FID of the best setting, with pruning minus without: {shown}; one seed's standard deviation {noise:.1f}")


def format_percentages(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)


def run_search(turn: int, name: str, overrides: list[str]) -> dict:
    """Run one search, and its best setting again with other training seeds, unless a former command has."""
    import optuna

    folder = FOLDER / f"{name}-{turn}"
    sweep = [
        f"hydra.sweep.dir={folder}",
        f"hydra.sweeper.sampler.seed={turn}",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.confirm=0",
    ]
    storage = f"sqlite:///{folder}/study.db"
    run_train("hparams_search=optuna", f"hydra/sweeper/pruner={name}", *PRUNERS[name], *RUN, *sweep, *overrides)
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))
    if len(read_retrained(folder)) < len(SEEDS.split(",")):
        shutil.rmtree(folder / "again", ignore_errors=True)  # of an interrupted command
        words = [f"{key}={value}" for key, value in best["best_params"].items()]
        words += [word for word in overrides if not word.startswith("hydra.sweeper.")]
        run_train("-m", *RUN, *words, f"seed={SEEDS}", f"hydra.sweep.dir={folder}/again")
    (study,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=study, storage=storage).trials
    return {
        "images": sum(read_metrics(path)["images_seen"] for path in folder.glob("[0-9]*/metrics.json")),
        "again": read_retrained(folder),
        "states": [trial.state.name for trial in trials],
        "best": best["best_value"],
    }


def read_retrained(folder: Path) -> list[float]:
    """Return the objective of each finished run of a search's best setting."""
    return [read_metrics(path)[OBJECTIVE] for path in folder.glob("again/[0-9]*/metrics.json")]


def run_train(*words: str) -> None:
    print("python train.py", shlex.join(words), flush=True)
    subprocess.run([sys.executable, TRAIN, *words], check=True)


def read_metrics(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8"))["scores"]
