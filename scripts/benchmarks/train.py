"""Images per second of train.py, compared with a bare training loop of the same arithmetic."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.table import Table

from gan.system.console import plain_console
from gan.system.precision import cpu_has_bfloat16

ROOT = Path(__file__).resolve().parents[2]
TIMED = ROOT / "scripts" / "benchmarks" / "timed"
CASES = {  # overrides, steps
    "mlp": (["model=mlp"], 400),
    "dcgan": (["model=dcgan"], 150),
    "dcgan, r1": (["model=dcgan", "penalty=r1"], 100),
    "dcgan, gradient_penalty": (["model=dcgan", "penalty=gradient_penalty"], 80),
    "projection": (["model=projection"], 80),
}
RUN = ["trainer=cpu", "logger=none", "metrics=none"]
Side = Callable[[list[str], int], float]


def measure(overrides: list[str], turns: int, *, before: str | None = None, to_json: str | None = None) -> None:
    """Train each case on each side in turn: train.py, the bare loop, and train.py of another checkout, `before`."""
    given = [word.partition("=")[2] for word in overrides if word.startswith("trainer.precision=")]
    precisions = given or ["32-true", *(["bf16-mixed"] if cpu_has_bfloat16() else [])]
    sides: dict[str, Side] = {"train.py": run_train(ROOT), "bare loop": run_bare_loop}
    if before:
        sides["before"] = run_train(Path(before).resolve())
    rates: dict[str, dict[str, list[float]]] = {}
    for turn in range(turns):
        for precision in precisions:
            for case, (words, steps) in CASES.items():
                name = f"{case}, {precision}"
                if case == "mlp" and precision == "32-true":
                    sides["DataLoader"] = lambda words, steps: run_bare_loop(["--dataloader", *words], steps)
                for side, run in sides.items():
                    rate = run([*RUN, *words, f"trainer.precision={precision}", *overrides], steps)
                    rates.setdefault(name, {}).setdefault(side, []).append(rate)
                    print(f"turn {turn + 1} of {turns}, {name}, {side}: {rate:,.0f} images/s", flush=True)
                sides.pop("DataLoader", None)
    plain_console().print(draw_table(rates, turns))
    if to_json:
        Path(to_json).write_text(json.dumps({"cpu": name_cpu(), "images_per_second": rates}), encoding="utf-8")


def draw_table(rates: dict[str, dict[str, list[float]]], turns: int) -> Table:
    """Return the table of median ratios to the other sides, each with its least and most, and of median images/s."""
    others = list(dict.fromkeys(side for of_case in rates.values() for side in of_case if side != "train.py"))
    title = f"train.py, {name_cpu()}, {os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads, {turns} turns"
    table = Table("case", *(f"ratio to {side}" for side in others), "images/s", title=title)
    for case, of_case in rates.items():
        cells = []
        for side in others:
            ratios = [a / b for a, b in zip(of_case["train.py"], of_case.get(side, []), strict=False)]
            text = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
            cells.append(text)
        table.add_row(case, *cells, f"{statistics.median(of_case['train.py']):,.0f}")
    return table


def run_train(root: Path) -> Side:
    """Return a function that runs train.py of a checkout, and returns its images per second."""

    def run(words: list[str], steps: int) -> float:
        with TemporaryDirectory() as folder:
            clock = Path(folder, "clock")
            words = [*words, f"trainer.max_steps={steps}", f"trainer.val_check_interval={10 * steps}"]
            words += ["+callbacks.clock._target_=clock.Clock", f"+callbacks.clock.path={clock}"]
            start([root / "train.py", *words, f"hydra.run.dir={folder}/run"])
            return float(clock.read_text(encoding="utf-8"))

    return run


def run_bare_loop(words: list[str], steps: int) -> float:
    """Return the images per second of the bare loop."""
    return float(start([TIMED / "bare_loop.py", str(steps), *words]).splitlines()[-1])


def start(words: list) -> str:
    """Run a Python script to its end, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(TIMED)}
    return subprocess.run(
        [sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout


def name_cpu() -> str:
    """Return the instructions that PyTorch uses on this machine's processor."""
    name = torch.backends.cpu.get_cpu_capability()
    return f"{name} with bfloat16" if cpu_has_bfloat16() else name
