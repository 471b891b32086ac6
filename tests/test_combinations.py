"""The whole product: every model with every loss, on grey and colour, with and without labels, is built and stepped."""

import warnings

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gan.errors import InputError, find_reason
from gan.gan import GAN
from gan.models.attention import SelfAttention
from gan.run.build import build_gan
from tests.helpers import NARROW, NEED_CLASSES, ROOT

MODELS, LOSSES = (sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in ("model", "loss"))
PENALTIES = sorted({path.stem for path in (ROOT / "conf" / "penalty").glob("*.yaml")} - {"none"})
SHAPES = {"28 px grey": (1, 28), "32 px colour": (3, 32)}
OTHERS = [  # what is not a loss of its own, on top of the hardest pair
    ["penalty=r1"],
    ["penalty=dragan"],
    ["penalty=[r1,r2]", "penalty.r1.interval=2"],
    ["penalty=[gradient_penalty,r1]", "loss=hinge"],
    ["penalty=[approx_r1,approx_r2]", "penalty.approx_r2.interval=2", "loss=rpgan"],
    ["penalty=[balanced_consistency,lecam]", "augment=diffaugment"],
    ["penalty=[consistency,r1]", "loss=rpgan"],
    ["top_k=0.5", "loss=rpgan", "model.discriminator.minibatch_std=true"],
    ["top_k=0.5", "model.discriminator.minibatch_std=true", "penalty=r1"],
    ["augment=diffaugment"],
    ["augment=ada"],
    ["augment=ada", "penalty=[r1,r2]"],
    ["augment=fixed", "penalty=[r1,r2]", "annealing.gamma.final=1", "annealing.beta2.final=0.9"],
    ["augment=fixed", "annealing.augment_p={final: 1, until: 0.5}", "annealing.ema_half_life_steps.final=0"],
    ["prior=uniform", "gradient_clip_val=1.0", "n_critic=2", "schedule=cosine"],
    ["loss.label_smoothing=0.1", "discriminator_norm=spectral"],
]


def shape_of(channels: int, image_size: int, num_classes: int) -> dict[str, int]:
    return {"channels": channels, "image_size": image_size, "num_classes": num_classes}


def step(gan: GAN, channels: int, image_size: int, num_classes: int, steps: int = 2) -> list[dict[str, float]]:
    """Train by Lightning on random images; return each step's losses."""
    n = 4 * gan.n_critic * steps
    images = torch.rand(n, channels, image_size, image_size) * 2 - 1
    labels = torch.arange(n) % max(num_classes, 1)
    logged = []
    gan.log_dict = lambda logs: logged.append({name: value.item() for name, value in logs.items()})
    quiet = {
        "logger": False,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(accelerator="cpu", max_steps=steps, **quiet)
        trainer.fit(gan, DataLoader(TensorDataset(images, labels), batch_size=4 * gan.n_critic))
    return logged


def sound(gan: GAN, logged: list[dict[str, float]], steps: int = 2) -> None:
    assert len(logged) == steps
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in logged)
    for name, parameter in [*gan.generator.named_parameters(), *gan.discriminator.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if parameter.dim() > 1:
            assert parameter.grad.abs().max() > 0, name
    labels = torch.zeros(3, dtype=torch.long)
    with torch.no_grad():
        for network in (gan.generator, gan.ema):
            assert network(gan.prior(3, gan.generator.z_dim), labels).abs().max() <= 1


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_every_cell_is_built_and_stepped(configure, model, loss, shape, conditional):
    size = (*SHAPES[shape], 4 if conditional else 0)
    # each update with clipped weights shrinks the signal of a network without norm, and gradients soon underflow
    fewer = ["n_critic=1"] if (model, loss) == ("r3gan", "wgan") else []
    cfg = configure(f"model={model}", f"loss={loss}", "metrics=none", *NARROW[model], *fewer)
    if model in NEED_CLASSES and not conditional:
        with pytest.raises(Exception, match=f"model={model}") as caught:
            build_gan(cfg, shape_of(*size))
        assert f"model={NEED_CLASSES[model]} is the same network" in find_reason(caught.value)
        return
    gan = build_gan(cfg, shape_of(*size))
    sound(gan, step(gan, *size))


@pytest.mark.parametrize("overrides", OTHERS, ids=" ".join)
@pytest.mark.parametrize(("channels", "image_size"), [(1, 28), (3, 32), (1, 64)])
def test_every_penalty_augmentation_and_device_steps_too(configure, overrides, channels, image_size):
    gan = build_gan(
        configure("model=dcgan", "metrics=none", *NARROW["dcgan"], *overrides), shape_of(channels, image_size, 4)
    )
    if "augment=ada" in overrides:
        gan.augment.p.fill_(0.7)
    sound(gan, step(gan, channels, image_size, 4))


@pytest.mark.parametrize("penalty", [*PENALTIES, "[r1,r2]"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_bears_every_penalty(configure, model, penalty):
    gan = build_gan(
        configure(f"model={model}", f"penalty={penalty}", "metrics=none", *NARROW[model]), shape_of(1, 28, 4)
    )
    logged = step(gan, 1, 28, 4)
    sound(gan, logged)
    assert all(losses["penalty"] > 0 for losses in logged if "penalty" in losses)
    assert "penalty" in logged[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "overrides",
    [
        ["model=sngan", "loss=hinge"],
        ["model=projection", "penalty=[r1,r2]", "loss=rpgan"],
        ["model=resnet_gp", "loss=wgan_gp"],
        ["model=biggan", "penalty=dragan"],
        ["model=acgan", "penalty=gradient_penalty"],
    ],
    ids=" ".join,
)
def test_networks_with_attention_step_with_losses_and_penalties(configure, overrides, shape):
    channels, image_size = SHAPES[shape]
    narrow = NARROW[overrides[0].partition("=")[2]]
    sizes = [f"model.{player}.attention={image_size // 2}" for player in ("generator", "discriminator")]
    gan = build_gan(configure(*overrides, "metrics=none", *narrow, *sizes), shape_of(channels, image_size, 4))
    sound(gan, step(gan, channels, image_size, 4))
    assert all(module.gamma != 0 for module in gan.modules() if isinstance(module, SelfAttention))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_steps_with_the_best_half_of_the_fakes(configure, loss):
    cfg = configure("model=dcgan", f"loss={loss}", "top_k=0.5", "metrics=none", *NARROW["dcgan"])
    gan = build_gan(cfg, shape_of(1, 28, 4))
    sound(gan, step(gan, 1, 28, 4))


@pytest.mark.parametrize("penalty", ["none", "r1", "approx_r1", "lecam"])
@pytest.mark.parametrize("model", ["dcgan", "sngan", "projection", "resnet_gp"])
def test_minibatch_std_steps_with_every_model_that_has_it(configure, model, penalty):
    on = ["model.discriminator.minibatch_std=true", f"penalty={penalty}"]
    gan = build_gan(configure(f"model={model}", "metrics=none", *NARROW[model], *on), shape_of(3, 32, 4))
    sound(gan, step(gan, 3, 32, 4))


@pytest.mark.parametrize("words", [["loss=bce"], ["loss=rpgan"], ["loss=wgan_gp"], ["penalty=[r1,r2]"]], ids=" ".join)
@pytest.mark.parametrize("model", [model for model in MODELS if model not in NEED_CLASSES])
def test_every_model_bears_packs(configure, model, words):
    cfg = configure(f"model={model}", "pack=2", "conditional=false", "metrics=none", *NARROW[model], *words)
    if model == "infogan_code":
        with pytest.raises(InputError, match=r"pack=2: .*auxiliary task"):
            build_gan(cfg, shape_of(1, 28, 0))
        return
    gan = build_gan(cfg, shape_of(1, 28, 0))
    sound(gan, step(gan, 1, 28, 0))


def test_a_penalty_with_batch_norm_is_refused_for_every_model_that_has_it(configure):
    for model in ("dcgan", "infogan", "infogan_code"):
        cfg = configure(f"model={model}", "penalty=r1", "discriminator_norm=batch", *NARROW[model])
        with pytest.raises(InputError, match="norm=batch"):
            build_gan(cfg, shape_of(1, 28, 4))


def test_a_cell_counts_only_if_something_could_fail(configure):
    """The check itself: a discriminator that is blind leaves the generator without a gradient."""
    gan = build_gan(configure("model=dcgan", "metrics=none", *NARROW["dcgan"]), shape_of(1, 28, 4))

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, images, labels):
            return 0 * images.flatten(1).sum(1) + self.w

    gan.discriminator = Blind()
    logged = step(gan, 1, 28, 4)
    with pytest.raises(AssertionError):
        sound(gan, logged)
