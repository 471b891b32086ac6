"""Combinations that cannot be right are refused in one line, and refusing leaves no trace."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import train
from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE, Wasserstein
from gan.models import dcgan, infogan, projection
from gan.penalties import R1
from gan.regularizers import ApproximateR1, BalancedConsistency, Consistency, LeCam
from gan.run.checks import check_gan, require_compilable

SHAPE = {"channels": 1, "image_size": 28, "num_classes": 10}


class Ending(nn.Module):
    """A discriminator of one dense layer with an ending of choice."""

    def __init__(self, ending) -> None:
        super().__init__()
        self.layer, self.ending = nn.Linear(784, 1), ending

    def forward(self, images, labels):
        return self.ending(self.layer(images.flatten(1)))


def game(*networks, **options) -> GAN:
    *players, loss = networks
    return GAN(*players, loss=loss, optimizer={}, **options)


def generator():
    return dcgan.Generator(**SHAPE, width=4)


@pytest.mark.parametrize(
    "ending",
    [
        lambda x: torch.sigmoid(x).squeeze(1),
        lambda x: nn.Sigmoid()(x.squeeze(1)),
        lambda x: torch.sigmoid(x).view(-1),
        lambda x: torch.sigmoid(x)[:, 0].float(),
        lambda x: torch.tanh(x).flatten(),
    ],
)
def test_a_squashed_head_is_refused(ending):
    with pytest.raises(InputError, match=r"model\.discriminator: ends in (sigmoid|tanh); must return raw logits"):
        check_gan(game(generator(), Ending(ending), BCE()), **SHAPE)


def test_a_sigmoid_inside_is_fine():
    check_gan(game(generator(), Ending(lambda x: (x * torch.sigmoid(x)).squeeze(1)), BCE()), **SHAPE)


@pytest.mark.parametrize("ending", [lambda x: x, lambda x: x.mean()])
def test_outputs_that_are_not_one_logit_an_image_are_refused(ending):
    with pytest.raises(InputError, match=r"model\.discriminator: returns .*must return one logit for each, \(2,\)"):
        check_gan(game(generator(), Ending(ending), BCE()), **SHAPE)


def test_images_of_another_size_or_range_are_refused():
    class Wide(nn.Module):
        z_dim = 4

        def forward(self, z, labels):
            return torch.full((len(z), 1, 28, 28), 1.5)

    discriminator = dcgan.Discriminator(**SHAPE, width=4)
    with pytest.raises(InputError, match=r"model\.generator: returns images \(1, 28, 28\); .*\(3, 28, 28\)"):
        check_gan(game(generator(), discriminator, BCE()), **(SHAPE | {"channels": 3}))
    with pytest.raises(InputError, match=r"outside \[-1, 1\]"):
        check_gan(game(Wide(), discriminator, BCE()), **SHAPE)


@pytest.mark.parametrize("model", [dcgan, infogan])
def test_batch_norm_in_the_discriminator_is_refused_with_a_penalty_only(model):
    discriminator = model.Discriminator(**SHAPE, width=4)
    check_gan(game(generator(), discriminator, BCE()), **SHAPE)
    with pytest.raises(InputError, match=r"norm=batch.*norm=layer"):
        check_gan(game(generator(), discriminator, BCE(), penalties=[R1()]), **SHAPE)


@pytest.mark.parametrize(("kind", "fits"), [(ApproximateR1, False), (Consistency, True), (LeCam, True)])
def test_regularizers_of_a_difference_between_samples_bear_batch_norm(kind, fits):
    """Not those of the gradient, whose definition is of each sample alone, nor any beside one of them."""
    networks = generator(), dcgan.Discriminator(**SHAPE, width=4, norm="batch"), BCE()
    if fits:
        check_gan(game(*networks, penalties=[kind()]), **SHAPE)
    with pytest.raises(InputError, match=r"norm=batch.*norm=layer"):
        check_gan(game(*networks, penalties=[kind(), ApproximateR1()]), **SHAPE)


@pytest.mark.parametrize(
    ("kind", "fits"), [(ApproximateR1, True), (LeCam, True), (Consistency, False), (BalancedConsistency, False)]
)
def test_consistency_does_not_bound_a_wasserstein_critic(kind, fits):
    networks = generator(), dcgan.Discriminator(**SHAPE, width=4, norm="none"), Wasserstein()
    if fits:
        check_gan(game(*networks, penalties=[kind()]), **SHAPE)
        return
    with pytest.raises(InputError, match=r"penalty: a Wasserstein loss needs .*weight_clip, or spectral norm"):
        check_gan(game(*networks, penalties=[kind()]), **SHAPE)


@pytest.mark.parametrize("kind", [ApproximateR1, Consistency, BalancedConsistency, LeCam])
def test_regularizers_that_differentiate_once_can_be_compiled(kind, monkeypatch):
    monkeypatch.setenv("CXX", "true")
    require_compilable(
        game(generator(), dcgan.Discriminator(**SHAPE, width=4, norm="layer"), BCE(), penalties=[kind()])
    )


def test_a_wasserstein_loss_needs_something_that_bounds_the_discriminator():
    free, spectral = (dcgan.Discriminator(**SHAPE, width=4, norm=norm) for norm in ("none", "spectral"))
    with pytest.raises(InputError, match=r"penalty=none: .*weight_clip, or spectral norm"):
        check_gan(game(generator(), free, Wasserstein()), **SHAPE)
    check_gan(game(generator(), free, BCE()), **SHAPE)
    check_gan(game(generator(), free, Wasserstein(), penalties=[R1()]), **SHAPE)
    check_gan(game(generator(), free, Wasserstein(), weight_clip=0.01), **SHAPE)
    check_gan(game(generator(), spectral, Wasserstein()), **SHAPE)


@pytest.mark.parametrize(
    ("options", "players", "word"),
    [({"penalties": [R1()]}, {"norm": "layer"}, "penalty=none"), ({}, {"norm": "spectral"}, "spectral norm")],
)
def test_what_torch_compile_cannot_train_is_refused(options, players, word):
    with pytest.raises(InputError, match=rf"trainer.compile=true.*{word}"):
        require_compilable(game(generator(), dcgan.Discriminator(**SHAPE, width=4, **players), BCE(), **options))


def test_torch_compile_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no_such_compiler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"trainer.compile=true.*CXX"):
        require_compilable(game(generator(), dcgan.Discriminator(**SHAPE, width=4), BCE()))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
@pytest.mark.parametrize("penalty", ["none", "[approx_r1,lecam,balanced_consistency]"])
def test_compiled_networks_train_as_others_do(configure, tmp_path, penalty):
    """Their cost is counted, their checkpoint has the same names, and the weights differ by rounding only."""
    weights, costs = [], []
    for compiled in (False, True):
        words = ["model=mlp", "model.generator.hidden=[16]", "model.discriminator.hidden=[16]", "metrics=none"]
        words += [f"penalty={penalty}"]
        cfg = configure(*words, "trainer.max_steps=5", f"trainer.compile={compiled}", f"run_dir={tmp_path}/{compiled}")
        train.train(cfg)
        weights.append(load_file(f"{cfg.run_dir}/generator.safetensors"))
        costs.append(
            json.loads(Path(cfg.run_dir, "metrics.json").read_text(encoding="utf-8"))["scores"]["flops_per_step"]
        )
    assert costs[0] == costs[1] > 0
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)


def test_projection_without_classes_is_refused():
    with pytest.raises(InputError, match=r"model=projection: .*model=sngan"):
        projection.Discriminator(channels=1, image_size=28, num_classes=0)


def test_checking_leaves_networks_and_random_state_alone():
    networks = generator(), projection.Discriminator(**SHAPE, width=4)
    before = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]
    state = torch.get_rng_state()
    check_gan(game(*networks, BCE(), penalties=[R1()]), **SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    for network, old in zip(networks, before, strict=True):
        assert network.training
        assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())


def test_a_last_layer_that_autocast_rounds_is_reported_in_mixed_precision_only(caplog):
    ending = Ending(lambda x: x.squeeze(1))
    check_gan(game(generator(), ending, BCE()), **SHAPE)
    assert not caplog.records
    check_gan(game(generator(), ending, BCE()), mixed=True, **SHAPE)
    assert "LogitLayer" in caplog.text
    caplog.clear()
    check_gan(game(generator(), dcgan.Discriminator(**SHAPE, width=4), BCE()), mixed=True, **SHAPE)
    assert not caplog.records
