"""From a config to the parts of a run: data, networks and their game, scorer."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from gan.annealing import Annealing
from gan.callbacks.evaluation import Evaluation
from gan.callbacks.run_state import share_state
from gan.data.datamodule import ImageData, Images
from gan.data.latents import Latents
from gan.data.pixel_cache import describe_file
from gan.data.points import require_pixels
from gan.errors import InputError
from gan.gan import GAN
from gan.metrics.extractors.extractor import Extractor
from gan.metrics.scorer import Scorer
from gan.penalties import Penalty
from gan.run.allowlist import PARTS
from gan.run.checkpoints import WholeCheckpoints
from gan.run.checks import check_gan, refuse_nested_multirun, require_compilable
from gan.run.config import format_value
from gan.run.objectives import require_measured
from gan.system.reuse import Last

N_SHOWN = 100  # validation samples of a run that is not scored
LOADED, EXTRACTOR = Last(), Last()  # of the runs of this process


def build_data(cfg: DictConfig) -> ImageData:
    """Return the images that a config names, loaded, with the z and labels to score generators on."""
    data = build(cfg.data, seed=cfg.seed, n_critic=cfg.n_critic)
    sources = data.list_sources()
    key = None if sources is None else [OmegaConf.to_container(cfg.data), *map(describe_file, sources)]
    data.splits, data.classes, data.summary = LOADED.get(key, lambda: load_images(data))
    data.require_batches()
    n_fakes = cfg.metrics.n_fakes if cfg.metrics.extractor else N_SHOWN
    labels, z_dim = data.splits["train"].labels, cfg.model.generator.z_dim
    data.latents = Latents(build_function(cfg.prior), z_dim=z_dim, n=n_fakes, labels=labels)
    return data


def load_images(data: ImageData) -> tuple[dict[str, Images], Sequence[str], str]:
    """Return splits, names of classes and summary of a config's images."""
    return data.load_splits(), data.classes, data.summary


def build_gan(cfg: DictConfig, shape: dict[str, int]) -> GAN:
    """Return the networks, losses and penalties of a config as a GAN for images of this shape (see `network_shape`).

    Raises InputError for combinations that can't train.
    """
    gan = GAN(
        build(cfg.model.generator, **shape),
        build(cfg.model.discriminator, **shape | {"channels": cfg.pack * shape["channels"]}),
        loss=build(cfg.loss),
        penalties=build_penalties(cfg.penalty),
        augment=build(cfg.augment),
        optimizer=build(cfg.optimizer),
        schedule=build_function(cfg.schedule),
        prior=build_function(cfg.prior),
        n_critic=cfg.n_critic,
        pack=cfg.pack,
        fresh_fakes=cfg.fresh_fakes,
        ema_half_life_steps=cfg.ema_half_life_steps,
        ema_ramp_up=cfg.ema_ramp_up,
        gradient_clip_val=cfg.gradient_clip_val,
        weight_clip=cfg.weight_clip,
        top_k=cfg.top_k,
        annealing=build_annealing(cfg.annealing),
    )
    check_gan(gan, batch_size=cfg.data.batch_size, mixed=cfg.trainer.precision == "bf16-mixed", **shape)
    if cfg.trainer.get("compile"):
        require_compilable(gan)
        gan.generator.compile()
        gan.discriminator.compile()
    return gan


def build_penalties(cfg: DictConfig) -> list[Penalty]:
    """Return the penalties of a config; raise InputError for settings of one that is not chosen."""
    chosen = [name for name, part in cfg.items() if "_target_" in part]
    for name in cfg:
        if name not in chosen:
            raise InputError(
                f"penalty.{name}: has settings, but is not chosen; add it, as penalty=[{','.join([*chosen, name])}], "
                f"or drop them: ~penalty.{name}"
            )
    return list(build(cfg).values())


def build_annealing(cfg: DictConfig) -> dict[str, Annealing]:
    """Return what values become over the run, by name; raise InputError for other settings than `final` and `until`."""
    found = {}
    for name, part in (OmegaConf.to_container(cfg) if OmegaConf.is_dict(cfg) else {"": cfg}).items():
        key = f"annealing.{name}".rstrip(".")
        if not isinstance(part, dict) or not part.keys() <= {"final", "until"}:
            raise InputError(
                f"{key}={format_value(part)}: must be given as annealing.NAME.final=VALUE annealing.NAME.until=SHARE"
            )
        if part.get("final") is not None:
            found[name] = Annealing(name, **part)
        elif part.get("until", 1) != 1:
            raise InputError(f"{key}.until={part['until']:g}: has no final value; add {key}.final=VALUE")
    return found


def build_scorer(cfg: DictConfig, data: ImageData, **options: Any) -> Scorer | None:
    """Return the Scorer of samples against these images, None for metrics=none; `options` are passed to it."""
    if not cfg.metrics.extractor:
        return None
    kind = build(cfg.metrics.scorer) if "scorer" in cfg.metrics else Scorer
    if kind is Scorer:
        require_pixels(data, "metrics", "use metrics=modes or metrics=none")
    options |= {"reference": cfg.metrics.reference, "n_fakes": cfg.metrics.n_fakes, "cache_dir": cfg.cache_dir}
    return kind(build_extractor(cfg, data), data, conditional=network_shape(cfg, data)["num_classes"] > 0, **options)


def build_extractor(cfg: DictConfig, data: ImageData) -> Extractor:
    """Return the feature extractor; one with `_partial_` depends on the data and is called with them."""
    options = OmegaConf.to_container(cfg.metrics.extractor)
    weights = Path(options.get("weights_path") or "")
    key = [options, describe_file(weights) if weights.is_file() else None, data.fingerprint(), data.shape]
    return EXTRACTOR.get(key, lambda: build_new_extractor(cfg, data))


def build_new_extractor(cfg: DictConfig, data: ImageData) -> Extractor:
    """Return the feature extractor; its random numbers do not change training's."""
    with torch.random.fork_rng():
        extractor = build(cfg.metrics.extractor)
        return extractor(data) if cfg.metrics.extractor.get("_partial_") else extractor


def build_trainer(cfg: DictConfig, data: ImageData, scorer: Scorer | None) -> tuple[Trainer, Evaluation]:
    """Return Lightning's Trainer with all callbacks, and its Evaluation callback."""
    evaluation = Evaluation(scorer, objective=cfg.objective, folder=Path(cfg.run_dir))
    if cfg.second_objective:
        require_measured(cfg.second_objective, evaluation)
    parts = {
        "logger": build(cfg.logger) or False,
        "callbacks": [evaluation, *build(cfg.callbacks).values()],
        "plugins": [*(build(cfg.trainer.get("plugins")) or []), WholeCheckpoints()],
    }
    share_state(parts["callbacks"])
    trainer = build_lightning_trainer(cfg, **parts)
    refuse_nested_multirun(trainer)
    data.require_batches(trainer.world_size)
    return trainer, evaluation


def build_lightning_trainer(cfg: DictConfig, **options: Any) -> Trainer:
    """Return Lightning's Trainer as the config describes it, without checkpoints of its own."""
    own = [name for name in cfg.trainer if name != "compile"]  # Lightning has no such option
    trainer = build(OmegaConf.masked_copy(cfg.trainer, own), enable_checkpointing=False, **options)
    if trainer.strategy.root_device.type == "cpu":  # each optimizer step asks for GPUs
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # Lightning's 1 makes it search for NVML's library each time
    return trainer


def network_shape(cfg: DictConfig, data: ImageData) -> dict[str, int]:
    """Return the arguments that all networks get: channels, image_size and num_classes (0 if conditional=false)."""
    return data.shape if cfg.conditional else data.shape | {"num_classes": 0}


def build_function(cfg: DictConfig) -> Callable[..., Any]:
    """Instantiate a function that each step calls: without Hydra, which checks a config's function at each call."""
    function = build(cfg)
    return partial(function.func, *function.args, **function.keywords) if isinstance(function, partial) else function


def build(cfg: DictConfig, **options: Any) -> Any:
    """Instantiate a part of a config; only import paths in the allow-list are used."""
    return instantiate(cfg, _execution_whitelist_=PARTS, **options)
