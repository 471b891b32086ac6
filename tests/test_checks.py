"""Combinations that cannot be right are refused in one line, and refusing leaves no trace."""

import pytest
import torch
from torch import nn

from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE, Wasserstein
from gan.models import dcgan, infogan, projection
from gan.penalties import R1
from gan.run.checks import check_gan

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


def test_a_wasserstein_loss_needs_something_that_bounds_the_discriminator():
    free, spectral = (dcgan.Discriminator(**SHAPE, width=4, norm=norm) for norm in ("none", "spectral"))
    with pytest.raises(InputError, match=r"penalty=none: .*weight_clip, or spectral norm"):
        check_gan(game(generator(), free, Wasserstein()), **SHAPE)
    check_gan(game(generator(), free, BCE()), **SHAPE)
    check_gan(game(generator(), free, Wasserstein(), penalties=[R1()]), **SHAPE)
    check_gan(game(generator(), free, Wasserstein(), weight_clip=0.01), **SHAPE)
    check_gan(game(generator(), spectral, Wasserstein()), **SHAPE)


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
