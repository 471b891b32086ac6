"""BigGAN: z in chunks, the shared embedding, conditioned batch norm, spectral norm, and exact parameter counts."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gan.ema import EMA
from gan.models import biggan, projection

SHAPE = {"channels": 3, "image_size": 32, "num_classes": 10}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize(("image_size", "start", "blocks"), [(28, 7, 2), (32, 4, 3), (64, 4, 4)])
def test_the_generator_has_exactly_the_parameters_of_its_layers(image_size, start, blocks, num_classes):
    width, z_dim, embedding, channels = 256, 120, 128, 3
    chunk = z_dim // (blocks + 1)
    condition = chunk + (embedding if num_classes else 0)
    block = 4 * condition * width + 2 * (9 * width**2 + width) + width**2 + width
    expected = (chunk + 1) * width * start**2 + blocks * block + 2 * width + 9 * width * channels + channels
    expected += num_classes * embedding
    shape = {"channels": channels, "image_size": image_size, "num_classes": num_classes}
    assert count(biggan.Generator(**shape)) == expected


@pytest.mark.parametrize("num_classes", [0, 10])
def test_the_discriminator_has_exactly_the_parameters_of_its_layers(num_classes):
    """At 32 px: two blocks that halve the size, with a shortcut of 1x1, and two that keep it."""
    width, channels = 256, 3
    conv = 9 * width**2 + width
    first = (9 + 1) * width * channels + 2 * width + conv
    expected = first + (2 * conv + width**2 + width) + 2 * 2 * conv + width + 1 + num_classes * width
    assert count(biggan.Discriminator(**SHAPE | {"num_classes": num_classes})) == expected
    if num_classes:
        assert count(projection.Discriminator(**SHAPE, width=width)) == expected


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize(("z_dim", "chunks"), [(120, [30, 30, 30, 30]), (10, [3, 3, 2, 2])])
def test_z_is_split_into_a_chunk_for_the_first_layer_and_for_each_block(z_dim, chunks, num_classes):
    """A change of one chunk changes the input of its block and of those after it, and of none before."""
    shape, shared = SHAPE | {"num_classes": num_classes}, 4 if num_classes else 0
    generator = biggan.Generator(**shape, z_dim=z_dim, width=8, embedding=4).eval()
    assert generator.chunks == chunks
    conditions, inputs = [], []
    for block in generator.blocks:
        block.register_forward_hook(lambda _, given, outputs: inputs.append(given[0]))
        block.register_forward_hook(lambda _, given, outputs: conditions.append(given[1]))
    z, labels = torch.randn(2, z_dim), torch.tensor([3, 7])
    generator(z, labels)
    joined = torch.cat([z[:, : chunks[0]], *(condition[:, shared:] for condition in conditions)], dim=1)
    assert torch.equal(joined, z)
    embedded = generator.embedding.weight[labels] if num_classes else torch.zeros(2, 0)
    assert all(torch.equal(condition[:, :shared], embedded) for condition in conditions)
    before, start = list(inputs), 0
    for i, size in enumerate(chunks):
        inputs.clear()
        changed = z.clone()
        changed[:, start : start + size] += 1
        generator(changed, labels)
        start += size
        assert [torch.equal(*pair) for pair in zip(before, inputs, strict=True)] == [j < i for j in range(3)]


def test_without_classes_the_condition_is_the_chunk():
    generator = biggan.Generator(**SHAPE | {"num_classes": 0}, width=8)
    assert generator.embedding is None
    assert generator.blocks[0].norm1.gain.in_features == 30


def test_gain_and_bias_are_one_and_zero_plus_linear_maps_of_the_condition():
    norm, x, condition = biggan.ConditionedBatchNorm2d(3, 5), torch.randn(4, 3, 6, 6), torch.randn(4, 5)
    standard = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x, torch.zeros(4, 5)), standard, rtol=1e-4, atol=1e-5)
    gain, bias = ((condition @ layer.weight.T)[:, :, None, None] for layer in (norm.gain, norm.bias))
    torch.testing.assert_close(norm(x, condition), (1 + gain) * standard + bias, rtol=1e-4, atol=1e-5)


def test_all_layers_of_the_generator_but_embedding_and_batch_norm_have_spectral_norm():
    generator = biggan.Generator(**SHAPE, width=8, embedding=4)
    layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 1 + 3 * 7 + 1
    assert all(map(is_parametrized, layers))
    assert not is_parametrized(generator.embedding)
    z, labels = torch.randn(4, 120), torch.arange(4)
    for layer in layers:
        nn.init.normal_(layer.parametrizations.weight.original)
    for _ in range(300):  # a power iteration each
        generator(z, labels)
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=2e-2)


def test_the_average_generator_has_the_averaged_weights_under_its_spectral_norm():
    """What is averaged are the stored weights; the vectors of the power iteration are the generator's latest."""
    generator = biggan.Generator(**SHAPE, width=8, embedding=4)
    ema = EMA(generator, half_life_steps=1, ramp_up=None)
    stored = generator.project[0].parametrizations.weight.original
    before = stored.detach().clone()
    ema.update(generator, 0)
    with torch.no_grad():
        stored.add_(1.0)
    generator(torch.randn(4, 120), torch.arange(4))
    ema.update(generator, 1)
    layer = ema.module.project[0].parametrizations.weight
    torch.testing.assert_close(layer.original, before + 0.5)
    assert torch.equal(layer[0]._u, generator.project[0].parametrizations.weight[0]._u)


def test_the_logits_are_projections_onto_the_classes_vector_plus_psi():
    """Miyato & Koyama 2018, eq. 3; without classes psi alone."""
    images, labels = torch.randn(5, 3, 32, 32), torch.tensor([0, 3, 3, 9, 1])
    for num_classes in (10, 0):
        discriminator = biggan.Discriminator(**SHAPE | {"num_classes": num_classes}, width=8).eval()
        phi = torch.relu(discriminator.blocks(images, labels)).flatten(2).sum(2)
        expected = discriminator.psi(phi)[:, 0]
        if num_classes:
            expected = expected + torch.einsum("nd,nd->n", discriminator.v.weight[labels], phi)
        torch.testing.assert_close(discriminator(images, labels), expected)
