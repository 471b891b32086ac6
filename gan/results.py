"""What a finished run leaves: its generator, metrics.json, and a table on the terminal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan import tracking
from gan.callbacks import Evaluation
from gan.cost import Cost
from gan.errors import InputError
from gan.gan import GAN
from gan.trusted import GENERATORS


def finish(trainer: Trainer, gan: GAN, evaluation: Evaluation, run_dir: Path, recipe: dict[str, Any]) -> None:
    """Save the run's last state, EMA generator, scores, cost and protocol, file them in W&B, and show them."""
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    trainer.save_checkpoint(checkpoint)
    generator = save_generator(gan.ema.module, recipe, run_dir)
    protocol = evaluation.scorer.protocol if evaluation.scorer else {}
    cost = next((callback.measured for callback in trainer.callbacks if isinstance(callback, Cost)), {})
    scores = (
        evaluation.scores
        | cost
        | {
            "images_seen": int(gan.images_seen),
            "generator_steps": trainer.global_step,
            "seconds": evaluation.seconds,
            "diverged": evaluation.diverged,
        }
    )
    (run_dir / "metrics.json").write_text(json.dumps({"scores": scores, "protocol": protocol}, indent=2) + "\n")
    tracking.summarise(trainer.logger, scores | {"protocol": protocol})
    samples = sorted((run_dir / "samples").glob("*.png"))[-1:]
    places = {"samples": samples, "checkpoint": [checkpoint], "generator": [generator]}
    show(scores, protocol, places | {"W&B": tracking.where(trainer.logger)})


def save_generator(generator: nn.Module, recipe: dict[str, Any], run_dir: Path) -> Path:
    """Write generator.safetensors and, beside it, generator.yaml: what builds the network, and the prior of its z."""
    path = run_dir / "generator.safetensors"
    save_file({name: tensor.cpu().contiguous() for name, tensor in generator.state_dict().items()}, path)
    OmegaConf.save(OmegaConf.create(recipe), path.with_suffix(".yaml"))
    return path


def load_generator(run_dir: Path) -> tuple[nn.Module, Callable[..., Tensor], int]:
    """Return a run's EMA generator, ready to be called, its prior and its number of classes.

    Raises InputError where a run left none.
    """
    path = run_dir / "generator.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such file; a finished run leaves one in its folder")
    config = OmegaConf.load(path.with_suffix(".yaml"))
    generator = instantiate(config.generator, _execution_whitelist_=GENERATORS)
    generator.load_state_dict(load_file(path))
    prior = instantiate(config.prior, _execution_whitelist_=GENERATORS)
    return generator.eval().requires_grad_(False), prior, config.generator.num_classes


def show(scores: dict[str, float], protocol: dict[str, Any], places: dict[str, list]) -> None:
    """Print the scores as a table, how they were measured, and where the run's files lie."""
    console = Console()
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in scores.items():
        if name != "diverged" or value:
            table.add_row(label(name), number(name, value))
    console.print(table)
    if protocol:
        text = (
            "{extractor} (sha256 {extractor_sha256:.8}), {n_fakes:,} samples of the EMA generator "
            "against {n_reals:,} images of the {reference} split"
        )
        places = {"protocol": [text.format(**protocol)]} | places
    for name, found in places.items():
        for place in found:
            console.print(f"{name:<11} {place}", highlight=False, soft_wrap=True)


def label(name: str) -> str:
    """Return a score's name as people write it: fid_2k_floor as "FID 2k, real against real"."""
    words = name.replace("_floor", ", real against real").replace("_best", ", best so far").replace("_", " ")
    if name in ("seconds", "flops_per_step"):
        return {"seconds": "Training time", "flops_per_step": "Cost of a step"}[name]
    return "FID" + words[3:] if name.startswith("fid") else words.capitalize()


def number(name: str, value: float) -> str:
    """Return a score with its unit and as many digits as it is worth."""
    if name == "diverged":
        return "yes" if value else "no"
    if name == "flops_per_step":
        return f"{value / 1e9:.3g} GFLOP"
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    if name == "seconds":
        return f"{value // 60:.0f} min {value % 60:02.0f} s"
    return f"{value:,.0f}" if isinstance(value, int) else f"{value:.2f}"
