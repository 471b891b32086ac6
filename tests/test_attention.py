"""Self-attention: its formula, first and second derivatives, where it is put, and that without it nothing changes."""

import pytest
import torch
from torch import nn

from gan.errors import InputError
from gan.models import acgan, biggan, projection, resnet, resnet_gp, sngan
from gan.models.attention import SelfAttention
from gan.models.layers import LabeledSequential
from gan.run.build import build_gan
from gan.run.cell import name_cell, select_setting
from tests.helpers import NARROW
from tests.test_combinations import SHAPES, shape_of, sound, step

SHAPE = {"channels": 3, "image_size": 32, "num_classes": 4}
NETWORKS = [
    resnet.Generator,
    biggan.Generator,
    *(model.Discriminator for model in (sngan, projection, resnet_gp, acgan, biggan)),
]
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__module__.split(".")[-1])


def name_player(network: type[nn.Module]) -> str:
    return network.__name__.lower()


@pytest.mark.parametrize("size", [4, 5])
def test_self_attention_is_the_papers_sum_over_positions(size):
    """Zhang et al. 2019, eqs. 1 to 3, by loops; f and h are pooled to half the size, rounded up."""
    layer = SelfAttention(16).double()
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 16, size, size, dtype=torch.double)
    expected = x.clone()
    weights = {name: getattr(layer, name).weight[:, :, 0, 0] for name in "fghv"}
    cells = [(rows, columns) for rows in range(0, size, 2) for columns in range(0, size, 2)]
    for n in range(2):
        maps = {name: torch.einsum("oc,chw->ohw", weights[name], x[n]) for name in "fgh"}
        f, h = ([maps[name][:, r : r + 2, c : c + 2].amax(dim=(1, 2)) for r, c in cells] for name in ("f", "h"))
        for row in range(size):
            for column in range(size):
                shares = [(key @ maps["g"][:, row, column]).exp() for key in f]  # eq. 1
                o = sum(share * value for share, value in zip(shares, h, strict=True)) / sum(shares)  # eq. 2
                expected[n, :, row, column] += 0.7 * weights["v"] @ o  # eq. 3
    torch.testing.assert_close(layer(x), expected)


def test_self_attention_starts_as_the_identity_and_is_counted():
    layer, x = SelfAttention(16), torch.randn(2, 16, 6, 6)
    assert torch.equal(layer(x), x)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 16 * 2 + 2 * 16 * 8 + 1


def test_self_attention_can_be_differentiated_twice():
    """As penalties need."""
    layer = SelfAttention(8).double()
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 8, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


@each_network
def test_it_is_put_behind_the_block_of_its_size(network):
    """The first one, in a discriminator, whose last blocks keep the size."""
    plain = network(**SHAPE, width=16)
    for size in (8, 16):
        attended = network(**SHAPE, width=16, attention=size)
        (layer,) = (module for module in attended.modules() if isinstance(module, SelfAttention))
        seen = []
        layer.register_forward_hook(lambda _, inputs, outputs, seen=seen: seen.append(outputs.shape))
        inputs = torch.randn(2, attended.z_dim) if network.__name__ == "Generator" else torch.randn(2, 3, 32, 32)
        labels = torch.tensor([0, 1])
        attended(inputs, labels)
        assert seen == [(2, 16, size, size)]
        added = sum(p.numel() for p in attended.parameters()) - sum(p.numel() for p in plain.parameters())
        assert added == 2 * 16 * 2 + 2 * 16 * 8 + 1
        blocks = list(attended.blocks)
        if network.__name__ == "Generator":
            assert [isinstance(block, LabeledSequential) for block in blocks] == [size == 8, size == 16, False]
        else:
            assert blocks.index(layer) == {16: 1, 8: 2}[size]
            normed = [nn.utils.parametrize.is_parametrized(getattr(layer, name)) for name in "fghv"]
            assert normed == [network is not resnet_gp.Discriminator] * 4


@each_network
def test_the_names_of_layers_without_attention_are_those_of_older_checkpoints(network):
    names = {name for name, _ in network(**SHAPE, width=16).named_parameters()}
    assert not [name for name in names if "gamma" in name]
    conv = "conv1.parametrizations.weight.original" if "blocks.1.conv1.weight" not in names else "conv1.weight"
    assert {f"blocks.{i}.{conv}" for i in range(3)} <= names


@each_network
@pytest.mark.parametrize("size", [1, 12, 64])
def test_other_sizes_are_refused(network, size):
    player = name_player(network)
    sizes = "8, 16, 32" if player == "generator" else "16, 8"
    with pytest.raises(InputError, match=rf"^model\.{player}\.attention={size}: .*maps \({sizes}\), or null"):
        network(**SHAPE, width=16, attention=size)


def test_maps_of_few_channels_are_refused():
    with pytest.raises(InputError, match="at least 8 channels, these have 4"):
        resnet.Generator(**SHAPE, width=4, attention=16)


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


def test_a_run_without_attention_has_the_cell_of_older_runs(configure):
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(configure("model=sngan", "metrics=none"), resolve=True)
    attended = OmegaConf.to_container(
        configure("model=sngan", "metrics=none", "model.generator.attention=14"), resolve=True
    )
    older = OmegaConf.to_container(OmegaConf.create(config))
    for player in ("generator", "discriminator"):
        assert older["model"][player].pop("attention", "absent") is None
    assert name_cell(config) == name_cell(older) != name_cell(attended)
    assert select_setting(attended)["model.generator.attention"] == 14
