"""What a finished run leaves: its generator, metrics.json, and a table on the terminal."""

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gan import tracking
from gan.callbacks.cost import Cost
from gan.callbacks.evaluation import Evaluation
from gan.callbacks.samples import SampleGrid
from gan.errors import InputError
from gan.gan import GAN
from gan.metrics.protocol import PROTOCOL_ID, hash_protocol
from gan.metrics.scorer import Scorer
from gan.run.allowlist import GENERATORS, load_plain, require_trusted
from gan.run.checkpoints import read_checkpoint, require_same_layers, shapes
from gan.run.command_line import OVERRIDES
from gan.run.display import show, show_places
from gan.run.resume import recorded_words
from gan.system.console import plain_console
from gan.system.files import write_whole
from gan.system.run_folder import BEST, CONFIG, GENERATOR, LAST, METRICS


class Generator(NamedTuple):
    """A generator ready to be called, the prior of its z, its classes and, from a checkpoint, its step.

    `num_classes` is 0 for an unconditional one; `classes` are their names, where the run knew any.
    """

    network: nn.Module
    prior: Callable[..., Tensor]
    num_classes: int
    step: int | None
    classes: Sequence[str] = ()


def show_notes(notes: Iterable[str | None]) -> None:
    """Print what a run found at its start, once for all its processes."""
    if not rank_zero_only.rank:
        for note in filter(None, notes):
            plain_console().print(note, soft_wrap=True)


def start(cfg: DictConfig, shape: dict[str, int], classes: Sequence[str]) -> dict[str, Any]:
    """Return a run's whole config; leave it in the run's folder, and what builds its generator beside it.

    It holds the overrides of the command.
    """
    config = OmegaConf.to_container(cfg, resolve=True) | {OVERRIDES: recorded_words()}
    if rank_zero_only.rank:
        return config
    run_dir = Path(cfg.run_dir)
    write_whole(run_dir / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))
    recipe = {"generator": config["model"]["generator"] | shape, "prior": config["prior"], "classes": list(classes)}
    write_whole((run_dir / GENERATOR).with_suffix(".yaml"), OmegaConf.to_yaml(OmegaConf.create(recipe)))
    return config


def finish(trainer: Trainer, gan: GAN, evaluation: Evaluation, run_dir: Path) -> dict[str, Any]:
    """Save the run's last state, EMA generator, scores, cost and protocol, file them in W&B, show and return them."""
    scorer = evaluation.scorer
    trainer.save_checkpoint(run_dir / LAST)
    cost = next((callback.measured for callback in trainer.callbacks if isinstance(callback, Cost)), {})
    facts = {
        "images_seen": int(gan.images_seen),
        "generator_steps": trainer.global_step,
        "seconds": evaluation.seconds,
        "diverged": evaluation.diverged,
    }
    run = {"scores": evaluation.scores | cost | facts}
    if scorer:
        run |= scorer.describe()
        run["best"] = score_best(trainer, gan, scorer, run_dir / BEST)
    if trainer.is_global_zero:
        leave(run, trainer, gan, evaluation, run_dir)
    return run["scores"]


def leave(run: dict[str, Any], trainer: Trainer, gan: GAN, evaluation: Evaluation, run_dir: Path) -> None:
    """Write a run's generator and numbers to its folder, to W&B and to the terminal."""
    generator, scorer = run_dir / GENERATOR, evaluation.scorer
    weights = {name: tensor.cpu().contiguous() for name, tensor in gan.ema.module.state_dict().items()}
    write_whole(generator, save(weights))
    write_whole(run_dir / METRICS, json.dumps(run, indent=2) + "\n")
    stamp = {PROTOCOL_ID: hash_protocol(scorer.protocol)} if scorer else {}
    tracking.summarise(trainer.logger, run["scores"] | stamp | {name: run[name] for name in run if name != "scores"})
    pictures = next((callback.by_class for callback in trainer.callbacks if isinstance(callback, SampleGrid)), {})
    tracking.log_pictures(trainer.logger, "samples_by_class", "class", list(pictures.items()))
    files = [generator, generator.with_suffix(".yaml"), run_dir / CONFIG]
    metadata = {"protocol": run.get("protocol")} | stamp
    tracking.log_generator(trainer.logger, files, evaluation.objective, run["scores"] | metadata)
    if any(getattr(callback, "announces", False) for callback in trainer.callbacks):
        return
    show(run)
    samples = sorted((run_dir / "samples").glob("*.png"))[-1:]
    places = {"samples": samples, "checkpoint": [run_dir / LAST], "generator": [generator]}
    show_places(places | {"W&B": tracking.where(trainer.logger)})


def values(scores: dict[str, Any], objective: str | None, second: str | None) -> float | tuple[float, ...] | None:
    """Return what a sweeper gets: the objective, None without one, and a second value where one is asked for.

    A run that diverged before its first evaluation has no second value; it is inf.
    """
    return (scores[objective], float(scores.get(second, math.inf))) if second else scores.get(objective)


def score_best(trainer: Trainer, gan: GAN, scorer: Scorer, path: Path) -> dict[str, Any]:
    """Score the best checkpoint's EMA generator on fresh samples: chosen by a score, it flatters itself by that one.

    Returns its step, scores and protocol; nothing for a run that has no best checkpoint, or has to hurry.
    """
    if any(getattr(callback, "interrupted", False) for callback in trainer.callbacks) or not path.is_file():
        return {}
    latents = trainer.datamodule.latents
    z_seed = latents.seed + 1
    samples = latents.build_loader(z_seed, rank=trainer.global_rank, world=trainer.world_size)
    generator = copy.deepcopy(gan.ema.module)
    step = load_checkpoint(generator, path)
    measured = scorer.score(generator, samples, trainer.strategy.root_device)
    return {"step": step, "scores": measured, "protocol": scorer.protocol | {"z_seed": z_seed}}


def load_checkpoint(generator: nn.Module, path: str | Path, network: str = "ema.module") -> int:
    """Load a checkpoint's generator, averaged ("ema.module") or raw ("generator"), and return its step."""
    checkpoint, prefix = read_checkpoint(path), f"{network}."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    require_same_layers(generator, shapes(state), path)
    generator.load_state_dict(state)
    return checkpoint["global_step"]


def load_generator(run_dir: Path, checkpoint: Path | None = None, *, raw: bool = False) -> Generator:
    """Return a run's generator: the averaged one that it left, or a checkpoint's, averaged or `raw`.

    Raises InputError where the run has no such file.
    """
    path = checkpoint or run_dir / GENERATOR
    recipe = (run_dir / GENERATOR).with_suffix(".yaml")
    for needed in (path, recipe):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file; a run leaves one in its folder")
    config = load_plain(recipe)
    require_trusted(OmegaConf.to_container(config), allowed=GENERATORS)
    network = instantiate(config.generator, _execution_whitelist_=GENERATORS)
    step = load_checkpoint(network, path, "generator" if raw else "ema.module") if checkpoint else None
    if not checkpoint:
        network.load_state_dict(load_file(path))
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    prior = instantiate(config.prior, _execution_whitelist_=GENERATORS)
    return Generator(network, prior, config.generator.num_classes, step, list(config.get("classes", [])))
