"""A run's outputs: config.yaml at its start; generator, metrics.json, W&B summary and a table at its end."""

import copy
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import save

from gan import tracking
from gan.callbacks.evaluation import Evaluation
from gan.gan import GAN
from gan.metrics.protocol import PROTOCOL_ID, hash_protocol
from gan.run.command_line import OVERRIDES
from gan.run.display import print_files, print_scores
from gan.run.generator import load_checkpoint
from gan.run.resume import task_overrides
from gan.system.console import plain_console
from gan.system.files import write_whole
from gan.system.run_folder import BEST, CONFIG, GENERATOR, LAST, METRICS


def print_notes(notes: Iterable[str | None]) -> None:
    """Print a run's notes at its start, from the first process only."""
    if not rank_zero_only.rank:
        for note in filter(None, notes):
            plain_console().print(note, soft_wrap=True)


def write_config(cfg: DictConfig, shape: dict[str, int], classes: Sequence[str]) -> dict[str, Any]:
    """Write the resolved config, with the command's overrides, and the generator's recipe; return the config.

    `shape` and `classes` are part of the recipe, from which `load_generator` builds the network without the data.
    """
    config = OmegaConf.to_container(cfg, resolve=True) | {OVERRIDES: task_overrides()}
    if rank_zero_only.rank:
        return config
    run_dir = Path(cfg.run_dir)
    write_whole(run_dir / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))
    recipe = {"generator": config["model"]["generator"] | shape, "prior": config["prior"], "classes": list(classes)}
    write_whole((run_dir / GENERATOR).with_suffix(".yaml"), OmegaConf.to_yaml(OmegaConf.create(recipe)))
    return config


def finish_run(trainer: Trainer, gan: GAN, evaluation: Evaluation, run_dir: Path) -> dict[str, Any]:
    """Save the last checkpoint, score the best one, write all outputs, and return the last scores and the cost."""
    scorer = evaluation.scorer
    trainer.save_checkpoint(run_dir / LAST)
    facts = {
        "images_seen": int(gan.images_seen),
        "generator_steps": trainer.global_step,
        "seconds": evaluation.run.seconds,
        "diverged": evaluation.run.diverged,
        "collapsed": evaluation.run.collapsed,
    }
    run = {"scores": evaluation.scores | evaluation.run.cost | facts}
    if scorer:
        run |= scorer.describe()
        run["best"] = {} if evaluation.run.stops_early else score_best(trainer, gan, evaluation, run_dir / BEST)
    if trainer.is_global_zero:
        write_outputs(run, trainer, gan, evaluation, run_dir)
    return run["scores"]


def write_outputs(run: dict[str, Any], trainer: Trainer, gan: GAN, evaluation: Evaluation, run_dir: Path) -> None:
    """Write the EMA generator and all numbers to the run's folder and to W&B, and print them unless a study does."""
    generator, scorer = run_dir / GENERATOR, evaluation.scorer
    weights = {name: tensor.cpu().contiguous() for name, tensor in gan.ema.module.state_dict().items()}
    write_whole(generator, save(weights))
    write_whole(run_dir / METRICS, json.dumps(run, indent=2) + "\n")
    stamp = {PROTOCOL_ID: hash_protocol(scorer.protocol)} if scorer else {}
    tracking.log_summary(trainer.logger, run["scores"] | stamp | {name: run[name] for name in run if name != "scores"})
    animations = sorted((run_dir / "samples").glob("*.gif"))
    for animation in animations:
        tracking.log_animation(trainer.logger, "training", animation)
    tracking.log_image_table(trainer.logger, "samples_by_class", "class", list(evaluation.run.pictures.items()))
    files = [generator, generator.with_suffix(".yaml"), run_dir / CONFIG]
    metadata = {"protocol": run.get("protocol")} | stamp
    tracking.log_generator(trainer.logger, files, evaluation.objective, run["scores"] | metadata)
    if evaluation.run.is_trial:
        return
    print_scores(run)
    samples = sorted((run_dir / "samples").glob("*.png"))[-1:]
    files = {"samples": samples, "animation": animations, "checkpoint": [run_dir / LAST], "generator": [generator]}
    print_files(files | {"W&B": tracking.list_locations(trainer.logger)})


def get_objectives(
    scores: dict[str, Any], objective: str | None, second: str | None
) -> float | tuple[float, ...] | None:
    """Return what a sweeper minimizes: the objective (None if there is none), or both objectives of a run.

    The second one is inf for a run that diverged before its first evaluation.
    """
    return (scores[objective], float(scores.get(second, math.inf))) if second else scores.get(objective)


def score_best(trainer: Trainer, gan: GAN, evaluation: Evaluation, path: Path) -> dict[str, Any]:
    """Score the best checkpoint's EMA generator on new samples: the score it was selected by is biased low.

    Returns its step, scores and protocol; the last scores for a run with a single evaluation, which selected nothing;
    an empty dict for a run without a best checkpoint.
    """
    scorer = evaluation.scorer
    if not path.is_file():
        return {}
    if not evaluation.has_selected:
        scores = {name: value for name, value in evaluation.scores.items() if not name.endswith("_best")}
        return {"step": trainer.global_step, "scores": scores, "protocol": scorer.protocol}
    latents = trainer.datamodule.latents
    z_seed = latents.seed + 1
    samples = latents.build_loader(z_seed, rank=trainer.global_rank, world=trainer.world_size)
    generator = copy.deepcopy(gan.ema.module)
    step = load_checkpoint(generator, path)
    measured = scorer.score(generator, samples, trainer.strategy.root_device)
    return {"step": step, "scores": measured, "protocol": scorer.protocol | {"z_seed": z_seed}}
