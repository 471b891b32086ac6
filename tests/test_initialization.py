"""First weights: what is stored in every layer of every model follows the rule that its file states."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan.models import dcgan, infogan, r3gan
from tests.helpers import NETWORKS, each_model

SHAPE = {"channels": 3, "image_size": 32, "num_classes": 10}
DENSE = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm


def normal(std, mean=0.0):
    return "normal", std, mean


def uniform(bound):
    return "uniform", bound, 0.0


def constant(value):
    return "constant", value, 0.0


def by_torch(name: str, layer: nn.Module, parameter: str) -> tuple:
    """Return what torch draws where nothing else is said: mlp, assignment."""
    if isinstance(layer, NORMS):
        return constant(1.0 if parameter == "weight" else 0.0)
    if isinstance(layer, nn.Embedding):
        return normal(1.0)
    return uniform(stored(layer)["weight"][0].numel() ** -0.5)


def by_radford(name: str, layer: nn.Module, parameter: str) -> tuple:
    """Return what dcgan and infogan say; biases are torch's."""
    if isinstance(layer, DENSE | nn.Embedding) and parameter == "weight":
        return normal(0.02)
    if isinstance(layer, nn.BatchNorm2d) and parameter == "weight":
        return normal(0.02, mean=1.0)
    return by_torch(name, layer, parameter)


def by_glorot(name: str, layer: nn.Module, parameter: str) -> tuple:
    """Return what resnet.py says of its discriminators and their generator."""
    if isinstance(layer, NORMS):
        return by_torch(name, layer, parameter)
    if name.endswith((".gain", ".norm1.bias", ".norm2.bias")):
        return constant(1.0 if name.endswith(".gain") else 0.0)  # conditional batch norm
    if parameter == "bias":
        return constant(0.0)
    weight = stored(layer)["weight"]
    fans = weight[0].numel() + weight[:, 0].numel()
    in_block = "blocks." in name and weight.shape[2:] == (3, 3)
    return uniform((2**0.5 if in_block else 1.0) * math.sqrt(6 / fans))


def by_fixup(name: str, layer: nn.Module, parameter: str) -> tuple:
    """Return what r3gan.py says; 32 px have four sizes of one block each."""
    if isinstance(layer, r3gan.BiasedLeakyReLU):
        return constant(0.0)
    if parameter == "basis":
        return normal(1.0)
    if isinstance(layer, nn.Embedding):
        return normal(layer.embedding_dim**-0.5)
    if name.endswith("branch.4"):
        return constant(0.0)
    gain = (2 / 1.04) ** 0.5 * 4**-0.25 if "branch" in name else 1.0
    return normal(gain * layer.weight[0].numel() ** -0.5)


def by_saxe(name: str, layer: nn.Module, parameter: str) -> tuple:
    """Return what biggan.py says."""
    if isinstance(layer, NORMS):
        return by_torch(name, layer, parameter)
    return ("orthogonal", 1.0, 0.0) if parameter == "weight" else constant(0.0)


RULES = {
    "mlp": by_torch,
    "assignment": by_torch,
    "dcgan": by_radford,
    "dcgan_projection": by_radford,
    "infogan": by_radford,
    "infogan_code": by_radford,
    "r3gan": by_fixup,
    "biggan": by_saxe,
}


def stored(layer: nn.Module) -> dict[str, Tensor]:
    """Return a layer's own parameters as they are stored, before any spectral norm divides them."""
    found = dict(layer.named_parameters(recurse=False))
    if is_parametrized(layer):
        found["weight"] = layer.parametrizations.weight.original
    return found


def check(values: Tensor, kind: str, size: float, mean: float) -> None:
    """Assert that values are a sample of a distribution: bounds, and a standard deviation within 5 standard errors."""
    matrix = values.detach().double().flatten(1) if values.dim() > 1 else None
    values = values.detach().double().flatten() - mean
    n, largest = len(values), values.abs().max()
    if kind == "constant":
        assert torch.equal(values, torch.full_like(values, size))
        return
    if kind == "orthogonal":  # rows or columns, whichever are fewer
        products = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(products, torch.eye(len(products), dtype=torch.float64), rtol=0, atol=1e-5)
        return
    if kind == "uniform":
        assert largest <= size * (1 + 1e-6)
        assert largest > size * (1 - 20 / n)
    elif n > 500:
        assert largest > 2.4 * size  # of a uniform distribution 1.7
    std = size / 3**0.5 if kind == "uniform" else size
    assert abs(values.square().mean().sqrt() / std - 1) < 5 / (2 * n) ** 0.5
    assert abs(values.mean()) < 5 * std / n**0.5


def networks(model: str, norm: str | None = None) -> dict[str, nn.Module]:
    of_generator, generator, of_discriminator, discriminator = NETWORKS[model]
    wide = {"width": 32} if "width" in discriminator else {}
    options = discriminator | wide | ({"norm": norm} if norm else {})
    return {
        "generator": of_generator.Generator(**SHAPE, **generator),
        "discriminator": of_discriminator.Discriminator(**SHAPE, **options),
    }


def check_network(network: nn.Module, rule) -> None:
    checked = set()
    for name, layer in network.named_modules():
        if name.rpartition(".")[2] == "parametrizations" or ".parametrizations." in name:
            continue
        for parameter, values in stored(layer).items():
            try:
                check(values, *rule(name, layer, parameter))
            except AssertionError as error:
                raise AssertionError(f"{name}.{parameter} {tuple(values.shape)}: {error}") from error
            checked.add(id(values))
    assert checked == {id(values) for values in network.parameters()}


@each_model
def test_every_stored_weight_follows_its_models_rule(model):
    for network in networks(model).values():
        check_network(network, RULES.get(model, by_glorot))


@pytest.mark.parametrize("norm", ["layer", "none", "spectral"])
@pytest.mark.parametrize("model", [dcgan, infogan])
def test_a_discriminators_norm_leaves_the_rule_as_it_is(model, norm):
    check_network(model.Discriminator(**SHAPE, width=32, norm=norm), by_radford)


@pytest.mark.parametrize(("model", "norm"), [("sngan", None), ("projection", None), ("dcgan", "spectral")])
def test_power_iteration_starts_from_the_stored_weights(model, norm):
    layers = [layer for layer in networks(model, norm)["discriminator"].modules() if is_parametrized(layer)]
    assert layers
    for layer in layers:
        weight = layer.parametrizations.weight.original.flatten(1)
        if weight.shape[0] > 1:  # of one row the norm is the row's
            u, v = layer.parametrizations.weight[0]._u, layer.parametrizations.weight[0]._v
            torch.testing.assert_close(torch.stack([u.norm(), v.norm()]), torch.ones(2))
            estimate, largest = (u @ weight @ v).item(), torch.linalg.matrix_norm(weight, 2).item()
            assert 0.8 * largest < estimate < 1.0001 * largest
