"""What a run costs against its steps, batch size, classes and images, as a table and a plot."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import numpy as np
from PIL import Image
from rich.table import Table

from gan.system.console import plain_console

from .train import ROOT, RUN, name_cpu, run_train, start

PICTURE = Path("cost.png")
STEPS, N_IMAGES, N_CLASSES = 60, 2_000, 10  # where they are not what varies
AXES = {  # what varies: its values
    "steps": [50, 100, 200, 400],
    "batch size": [16, 32, 64, 128, 256],
    "classes": [1, 10, 50, 200],
    "images": [500, 2_000, 8_000],
}
UNITS = {"steps": "s per run", "batch size": "ms per step", "classes": "ms per step", "images": "s per run, first time"}


def measure(overrides: list[str], turns: int) -> None:
    """Time each value of each axis in turn, print the medians, and draw them."""
    found: dict[str, dict[int, list[float]]] = {axis: {value: [] for value in AXES[axis]} for axis in AXES}
    with TemporaryDirectory() as folder:
        for turn in range(turns):
            for axis, values in AXES.items():
                for value in values:
                    found[axis][value].append(MEASURES[axis](value, Path(folder), [*RUN, *overrides]))
                    shown = f"{found[axis][value][-1]:.3g} {UNITS[axis]}"
                    print(f"turn {turn + 1} of {turns}, {value:,} {axis}: {shown}", flush=True)
    table = Table("what varies", "value", "median", "least", "most", title=f"{name_cpu()}, {turns} turns")
    for axis, of_axis in found.items():
        for value, times in of_axis.items():
            shown = (f"{number:.3g}" for number in (statistics.median(times), min(times), max(times)))
            table.add_row(axis, f"{value:,}", *shown, end_section=value == AXES[axis][-1])
    plain_console().print(table)
    draw(found, PICTURE)
    print(PICTURE)


def time_steps(steps: int, folder: Path, words: list[str]) -> float:
    """Return the seconds of a whole run with so many steps."""
    return time_run([*words, f"trainer.max_steps={steps}"], folder)


def time_batch_size(size: int, folder: Path, words: list[str]) -> float:
    """Return the milliseconds of a step with a batch of so many images."""
    return 1000 * size / run_train(ROOT)([*words, f"data.batch_size={size}"], STEPS)


def time_classes(n: int, folder: Path, words: list[str]) -> float:
    """Return the milliseconds of a step with so many classes."""
    root = write_images(folder / f"classes-{n}", N_IMAGES, n)
    words = [*words, "data=folder", f"data.root={root}", "data.image_size=28", "data.batch_size=64"]
    return 1000 * 64 / run_train(ROOT)(words, STEPS)


def time_images(n: int, folder: Path, words: list[str]) -> float:
    """Return the seconds of a whole short run that reads so many images for the first time."""
    root = write_images(folder / f"images-{n}", n, N_CLASSES)
    words = [*words, "data=folder", f"data.root={root}", "data.image_size=28", "cache_dir=null"]
    return time_run([*words, "trainer.max_steps=2"], folder)


def time_run(words: list[str], folder: Path) -> float:
    """Return the seconds of a command from its start to its end."""
    started = time.perf_counter()
    start([ROOT / "train.py", *words, "trainer.val_check_interval=100000", f"hydra.run.dir={folder}/{started}"])
    return time.perf_counter() - started


def write_images(root: Path, n: int, n_classes: int) -> Path:
    """Write n grey noise images of 28 px, in a folder per class, unless they are there."""
    draw_pixels = np.random.default_rng(0)
    for i in range(n):
        path = root / f"{i % n_classes:03}" / f"{i}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw_pixels.integers(0, 256, (28, 28), dtype=np.uint8)).save(path)
    return root


def draw(found: dict[str, dict[int, list[float]]], path: Path) -> None:
    """Draw one panel per axis: the median of each value, and its least and most."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="constrained")
    for axes, (axis, of_axis) in zip(panels, found.items(), strict=True):
        medians = [statistics.median(times) for times in of_axis.values()]
        spread = [
            [median - min(times) for median, times in zip(medians, of_axis.values(), strict=True)],
            [max(times) - median for median, times in zip(medians, of_axis.values(), strict=True)],
        ]
        axes.errorbar(list(of_axis), medians, yerr=spread, marker="o", color="#0072b2", capsize=3)
        axes.set(xlabel=axis, ylabel=UNITS[axis], ylim=(0, None), xscale="linear" if axis == "steps" else "log")
        axes.set_xticks(list(of_axis), [f"{value:,}" for value in of_axis], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150)
    plt.close(figure)


MEASURES: dict[str, Callable[[int, Path, list[str]], float]] = {
    "steps": time_steps,
    "batch size": time_batch_size,
    "classes": time_classes,
    "images": time_images,
}
