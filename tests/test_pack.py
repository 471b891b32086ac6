"""Packing: D judges m samples at once; losses and penalties count packs; what can't be packed is refused."""

import shutil

import pytest
import torch
from torch import nn

import train
from gan.augment import ADA, Augment
from gan.callbacks.cost import Cost, count_step_flops
from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE, Wasserstein
from gan.penalties import R1, R2, GradientPenalty
from gan.run.build import build_gan
from gan.run.cell import name_cell
from gan.run.config import prepare_config
from gan.run.resume import compare_settings
from tests.helpers import NARROW

SHAPE = {"channels": 1, "image_size": 28, "num_classes": 0}
UNLABELED = ["conditional=false", "pack=2"]


class Linear(nn.Module):
    """D(x) = w . x of a pack (m * C, H, W)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size))
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert len(labels) == len(images)
        self.seen.append(images.detach())
        return images.flatten(1) @ self.w


class Fixed(nn.Module):
    """A generator whose images are z."""

    z_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.scale * z.view(-1, 2, 2, 2)


def trained(configure, monkeypatch, *overrides) -> GAN:
    """Train by train.py, in an empty folder but for a resume, and return the GAN."""
    built, initialize = [], GAN.__init__
    monkeypatch.setattr(GAN, "__init__", lambda self, *a, **k: (built.append(self), initialize(self, *a, **k))[1])
    cfg = configure("model=dcgan", *NARROW["dcgan"], *overrides)
    if not cfg.ckpt_path:
        shutil.rmtree(cfg.run_dir, ignore_errors=True)
    train.train(cfg)
    return built[0]


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def build_game(pack: int, loss, *penalties, **options) -> GAN:
    """Return a GAN with a linear critic of packs of images (2, 2, 2), whose optimizers have a learning rate of 0."""
    optimizer = dict.fromkeys(("generator", "discriminator"), lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    gan = GAN(Fixed(), Linear(pack * 8), loss=loss, penalties=penalties, optimizer=optimizer, pack=pack, **options)
    players = [gan.build_optimizer(player) for player in ("generator", "discriminator")]
    gan.optimizers = lambda **_: players  # a trainer's otherwise
    return gan


def join(images: torch.Tensor, pack: int) -> torch.Tensor:
    """Return each m consecutive images side by side, one at a time."""
    return torch.stack([torch.cat(list(images[i : i + pack])) for i in range(0, len(images), pack)])


@pytest.mark.parametrize("pack", [1, 2, 3])
def test_both_players_are_judged_by_packs_of_consecutive_samples(pack):
    gan, labels = build_game(pack, BCE()), torch.zeros(6, dtype=torch.long)
    real, fake = torch.randn(2, 6, 2, 2, 2)
    gan.discriminator_step(real, fake, labels, 0)
    gan.generator_step(real, fake.requires_grad_(), labels)
    assert [images.shape for images in gan.discriminator.seen] == [(6 // pack, 2 * pack, 2, 2)] * 3
    for seen, images in zip(gan.discriminator.seen, (real, fake, fake), strict=True):
        assert torch.equal(seen, join(images, pack))


@pytest.mark.parametrize("pack", [1, 2, 3])
def test_losses_and_penalties_of_packs_against_closed_forms(pack):
    """A linear critic has the gradient w at every pack."""
    penalties = R1(gamma=3.0), R2(gamma=5.0), GradientPenalty(weight=7.0)
    gan = build_game(pack, Wasserstein(), *penalties)
    real, fake = torch.randn(2, 6, 2, 2, 2)
    gan.discriminator_step(real, fake, torch.zeros(6, dtype=torch.long), 0)
    gan.generator_step(real, fake.requires_grad_(), torch.zeros(6, dtype=torch.long))
    w = gan.discriminator.w.detach()
    penalty = 3 / 2 * w.square().sum() + 5 / 2 * w.square().sum() + 7 * (w.norm() - 1).square()
    means = [(join(images.detach(), pack).flatten(1) @ w).mean() for images in (real, fake)]
    torch.testing.assert_close(gan.logs["penalty"], penalty)
    torch.testing.assert_close(gan.logs["discriminator_loss"], means[1] - means[0])
    torch.testing.assert_close(gan.logs["generator_loss"], -means[1])


def test_ada_counts_the_samples_of_a_pack():
    """All logits are positive, so that p grows by the number of samples over ramp_images."""
    gan = build_game(3, BCE(), augment=ADA(ramp_images=60))
    with torch.no_grad():
        gan.discriminator.w.fill_(1.0)
    gan.discriminator_step(torch.ones(6, 2, 2, 2), torch.ones(6, 2, 2, 2), torch.zeros(6, dtype=torch.long), 0)
    assert gan.augment.p.item() == pytest.approx(6 / 60)


def test_bce_counts_a_pack_as_one_sample():
    gan = build_game(3, BCE())
    real, fake = torch.randn(2, 6, 2, 2, 2)
    gan.discriminator_step(real, fake, torch.zeros(6, dtype=torch.long), 0)
    logits = [join(images, 3).flatten(1) @ gan.discriminator.w.detach() for images in (real, fake)]
    expected = nn.functional.softplus(-logits[0]).mean() + nn.functional.softplus(logits[1]).mean()
    torch.testing.assert_close(gan.logs["discriminator_loss"], expected)


def test_samples_are_augmented_one_by_one_before_they_are_packed():
    class Count(Augment):
        shapes: list[tuple[int, ...]] = []  # noqa: RUF012

        def forward(self, images):
            self.shapes.append(tuple(images.shape))
            return images

    gan = build_game(2, BCE(), augment=Count())
    real, fake = torch.randn(2, 6, 2, 2, 2)
    gan.discriminator_step(real, fake, torch.zeros(6, dtype=torch.long), 0)
    assert Count.shapes == [(6, 2, 2, 2)] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pack=0"], "pack=0: must be at least 1"),
        (["pack=2"], "pack=2: the images of a pack would need one label; add conditional=false"),
        (["conditional=false", "pack=3"], "pack=3: data.batch_size=64 must be a multiple of it"),
        (["conditional=false", "pack=128"], "pack=128: data.batch_size=64 must be a multiple of it"),
        (
            [*UNLABELED, "model=dcgan", "data.batch_size=2"],
            "data.batch_size=2: batch norm .model.discriminator, .* at least 4 images, two packs of pack=2",
        ),
    ],
)
def test_what_cannot_be_packed_is_refused(configure, words, message):
    cfg = configure("model=mlp", *words)
    with pytest.raises(InputError, match=message):
        build_gan(cfg, SHAPE | {"num_classes": 10 if cfg.conditional else 0})


@pytest.mark.parametrize("words", [[], ["penalty=[r1,r2]"], ["loss=rpgan", "n_critic=2"], ["augment=ada"]])
def test_a_packed_run_that_resumes_ends_with_the_weights_of_one_left_alone(configure, monkeypatch, tmp_path, words):
    options = [*UNLABELED, "metrics=none", "data.batch_size=16", *words]
    alone = trained(configure, monkeypatch, *options, "trainer.max_steps=4")
    trained(configure, monkeypatch, *options, "trainer.max_steps=2")
    last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    resumed = trained(configure, monkeypatch, *options, "trainer.max_steps=4", last)
    assert equal(resumed, alone)
    assert resumed.images_seen == 4 * 16 * resumed.n_critic  # packs change nothing in the count of real images


def test_a_run_cannot_be_resumed_with_another_pack(configure, monkeypatch, tmp_path):
    options = ["metrics=none", "conditional=false", "trainer.max_steps=1"]
    trained(configure, monkeypatch, *options)
    with pytest.raises(InputError, match=r"pack=2 \(the run has pack=1\)"):
        trained(configure, monkeypatch, *options, "pack=2", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")


def test_a_run_from_before_packs_had_packs_of_one(tmp_path):
    assert compare_settings({"n_critic": 1}, {"n_critic": 1, "pack": 1}, tmp_path) == {}
    with pytest.raises(InputError, match=r"pack=2 \(the run has pack=1\)"):
        compare_settings({"n_critic": 1}, {"n_critic": 1, "pack": 2}, tmp_path)


@pytest.mark.parametrize("pack", [1, 2, 4])
@pytest.mark.parametrize("penalty", ["none", "r1"])
def test_operations_of_a_step_by_hand(configure, pack, penalty):
    """G 100-8-784, D (pack * 784)-8-1: D takes a pack of images as one input, G makes them one by one."""
    small = ["model.generator.hidden=[8]", "model.discriminator.hidden=[8]"]
    cfg = configure("model=mlp", "conditional=false", f"pack={pack}", f"penalty={penalty}", *small)
    n, packs, g, d = 2 * 16, 2 * 16 // pack, 100 * 8 + 8 * 784, pack * 784 * 8 + 8
    expected = n * g + packs * (4 * d + 2 * 8)  # as in tests/test_cost.py
    expected += packs * 2 * d + n * (g + 8 * 784)
    gan = build_gan(cfg, SHAPE)
    counted = count_step_flops(gan, batch_size=16, mixed=False, **SHAPE)
    assert counted == expected if penalty == "none" else counted > expected


@pytest.mark.parametrize("pack", [2, 4])
def test_the_cost_before_training_is_the_cost_of_training(configure, monkeypatch, pack):
    costs, end = [], Cost.on_train_batch_end
    monkeypatch.setattr(Cost, "on_train_batch_end", lambda self, *a: end(self, *a) or costs.append(self.run.cost))
    words = ["data.batch_size=16", "metrics=none", "conditional=false", "penalty=r1", f"pack={pack}"]
    gan = trained(configure, monkeypatch, *words, "trainer.max_steps=1")
    assert costs[-1]["flops_per_step"] == count_step_flops(gan, batch_size=16, mixed=False, **SHAPE)


def test_a_pack_of_one_leaves_a_cell_its_name_and_another_changes_it(configure):
    one, two = (dict(prepare_config(configure("conditional=false", f"pack={pack}"))) for pack in (1, 2))
    assert name_cell({name: value for name, value in one.items() if name != "pack"}) == name_cell(one)
    assert name_cell(two) != name_cell(one)
    assert "pack_2" in name_cell(two)


@pytest.mark.parametrize("pack", [1, 2, 4])
def test_the_discriminator_is_built_for_packs_and_the_generator_for_images(configure, pack):
    gan = build_gan(configure("model=mlp", *NARROW["mlp"], "conditional=false", f"pack={pack}"), SHAPE)
    assert gan.discriminator.body[0].in_features == pack * 784
    assert gan.sample(torch.zeros(2, dtype=torch.long)).shape == (2, 1, 28, 28)
