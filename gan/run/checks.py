"""Combinations that can't train, refused before training in one line."""

import logging
import os
import shutil
from collections.abc import Iterable
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan.augment import Augment
from gan.errors import InputError
from gan.gan import GAN
from gan.losses import is_unbounded
from gan.penalties import get_trait

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
RESHAPING = ("Alias", "Clone", "Reshape", "Select", "Slice", "Squeeze", "ToCopy", "Unsafe", "Unsqueeze", "View")

log = logging.getLogger(__name__)


def check_gan(
    gan: GAN, *, channels: int, image_size: int, num_classes: int, batch_size: int | None = None, mixed: bool = False
) -> None:
    """Raise InputError unless the networks fit each other, these images, the loss and the penalties.

    `mixed` says that they train in bf16-mixed: a last layer that computes in bfloat16 is then warned of.
    """
    labels = torch.arange(2) % max(num_classes, 1)
    z = torch.linspace(-1, 1, 2 * gan.generator.z_dim).view(2, -1)
    require_images(gan.generator, z, labels, (channels, image_size, image_size))
    if image_size == 1 and type(gan.augment) is not Augment:
        raise InputError("augment: changes images of more than one pixel; for points use augment=none")
    if gan.pack > 1:
        require_packs(gan.pack, num_classes, batch_size)
        if gan.has_auxiliary:
            raise InputError(
                f"pack={gan.pack}: this model's discriminator has an auxiliary task for single images; use pack=1"
            )
    images = torch.zeros(2, gan.pack * channels, image_size, image_size)
    require_logits(gan.discriminator, images, labels)
    if mixed:
        warn_of_rounded_logits(gan.discriminator, images, labels)
    if batch_size == gan.pack:
        require_no_batch_statistics(gan)
    if has_penalty(gan, "per_sample"):
        require_per_sample_gradients(gan.discriminator)
    if is_unbounded(gan.loss) and gan.weight_clip is None and not has_penalty(gan, "bounds_discriminator"):
        require_spectral_norm(gan.discriminator, "penalty" if gan.penalties else "penalty=none")


def has_penalty(gan: GAN, trait: str) -> bool:
    """Return whether any of the penalties has a trait, see `gan.penalties.Penalty`."""
    return any(get_trait(penalty, trait) for penalty, _ in gan.penalties)


def refuse_nested_multirun(trainer: Trainer) -> None:
    """Raise InputError for a run of a multirun that would start further processes: each would start the multirun."""
    strategy = trainer.strategy
    starts_processes = (
        trainer.world_size > 1
        and isinstance(strategy, ParallelStrategy)
        and not strategy.cluster_environment.creates_processes_externally
    )
    if starts_processes and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer.devices={trainer.num_devices}: in a multirun a launcher must start a run's processes; "
            "use hydra/launcher=slurm_ddp, or trainer.devices=1"
        )


def require_compilable(gan: GAN) -> None:
    """Raise InputError for a GAN that torch.compile can't train, and without the compiler that it needs on a CPU."""
    problem = None
    if has_penalty(gan, "differentiates_twice"):
        problem = "torch.compile can't differentiate twice, as the penalty needs; use penalty=none or penalty=approx_r1"
    elif gan.has_auxiliary:
        problem = "only a discriminator without an auxiliary task is compiled; use another model"
    elif any(is_parametrized(module) for module in gan.discriminator.modules()):
        problem = "torch.compile fails with spectral norm, which changes at each forward pass; use another norm"
    elif not torch.cuda.is_available() and not shutil.which(os.environ.get("CXX", "g++")):
        problem = "torch.compile needs a C++ compiler, g++ or that of the variable CXX"
    if problem:
        raise InputError(f"trainer.compile=true: {problem}, or leave it out")


def require_steps(trainer: Trainer) -> None:
    """Raise InputError for a run that ended before its first step: its generator is untrained."""
    if trainer.global_step == 0:
        raise InputError(
            f"trainer: training ended before its first step (max_time={trainer.max_time}, "
            f"limit_train_batches={trainer.limit_train_batches}); raise these"
        )


def require_packs(pack: int, num_classes: int, batch_size: int | None) -> None:
    """Raise InputError for packs of labeled images, and for a batch that is not a whole number of packs."""
    if num_classes:
        raise InputError(f"pack={pack}: the images of a pack would need one label; add conditional=false")
    if batch_size is not None and (batch_size < pack or batch_size % pack):
        raise InputError(f"pack={pack}: data.batch_size={batch_size} must be a multiple of it")


def require_no_batch_statistics(gan: GAN) -> None:
    """Raise InputError if a network that sees one sample or pack at a time has batch norm, which needs more."""
    for player in ("generator", "discriminator") if gan.pack == 1 else ("discriminator",):
        for name, module in getattr(gan, player).named_modules():
            if isinstance(module, BATCH_NORMS):
                least = f"{2 * gan.pack} images" + (f", two packs of pack={gan.pack}" if gan.pack > 1 else "")
                raise InputError(
                    f"data.batch_size={gan.pack}: batch norm (model.{player}, layer {name!r}) needs batches of at "
                    f"least {least}"
                )


def require_per_sample_gradients(discriminator: nn.Module) -> None:
    """Raise InputError if D has batch norm: a penalty needs D's gradient for each sample alone.

    See Gulrajani et al. 2017, section 4.
    """
    for name, module in discriminator.named_modules():
        if isinstance(module, BATCH_NORMS):
            raise InputError(
                f"model.discriminator.norm=batch: a penalty needs the gradient of each sample alone, and batch "
                f"norm (layer {name!r}) mixes samples; use model.discriminator.norm=layer, or penalty=none"
            )


def require_spectral_norm(discriminator: nn.Module, choice: str) -> None:
    """Raise InputError if D has no spectral norm: without any bound on D, the Wasserstein loss has no minimum.

    `choice` names the penalty's setting.
    """
    if not any(is_parametrized(module) for module in discriminator.modules()):
        raise InputError(
            f"{choice}: a Wasserstein loss needs a discriminator with bounded slope; use a penalty on its gradient, "
            "weight_clip, or spectral norm (discriminator_norm=spectral, model=sngan, model=projection)"
        )


def require_logits(discriminator: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Raise InputError unless D maps images (N, C, H, W) to raw logits (N,), without a sigmoid at the end."""
    logits = probe(discriminator, images, labels)
    if logits.shape != labels.shape:
        raise InputError(
            f"model.discriminator: returns {tuple(logits.shape)} for {len(labels)} images; must return one logit for "
            f"each, {tuple(labels.shape)}"
        )
    last = last_operation(logits)
    if "Sigmoid" in last or "Tanh" in last or "Softmax" in last:
        raise InputError(
            f"model.discriminator: ends in {last.removesuffix('Backward0').lower()}; must return raw logits, which "
            f"all losses expect"
        )


def warn_of_rounded_logits(discriminator: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Warn if D's last layer computes in bfloat16 under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = probe(discriminator, images, labels)
    if logits.dtype == torch.bfloat16:
        log.warning(
            "model.discriminator: its last layer returns bfloat16 logits, whose differences lose digits; "
            "end it in gan.models.layers.LogitLayer, or use trainer.precision=32-true"
        )


def require_images(generator: nn.Module, z: Tensor, labels: Tensor, shape: Iterable[int]) -> None:
    """Raise InputError unless G maps z (N, z_dim) and labels (N,) to images of the shape (C, H, W) in [-1, 1]."""
    images = probe(generator, z, labels)
    if images.shape != (len(z), *shape):
        raise InputError(f"model.generator: returns images {tuple(images.shape[1:])}; the data's are {tuple(shape)}")
    if images.abs().max() > 1:
        raise InputError("model.generator: returns pixels outside [-1, 1]; its last layer must be a tanh or a clamp")


def probe(network: nn.Module, *inputs: Any) -> Tensor:
    """Return a network's output with its autograd graph; its buffers and the random state stay as they are."""
    training = network.training
    with torch.random.fork_rng(), torch.enable_grad():
        outputs = network.eval()(*inputs)
    network.train(training)
    return outputs


def last_operation(outputs: Tensor) -> str:
    """Return the autograd name of the last operation that computed values, not only a shape."""
    node = outputs.grad_fn
    while node is not None and type(node).__name__.startswith(RESHAPING) and node.next_functions:
        node = node.next_functions[0][0]
    return type(node).__name__
