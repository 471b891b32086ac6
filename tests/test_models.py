"""Networks: shapes, ranges, conditioning, spectral norms, and the sizes they refuse."""

from functools import partial

import pytest
import torch
from torch import nn

from gan.errors import InputError
from gan.models import acgan, assignment, biggan, dcgan, infogan, projection, r3gan, reacgan, resnet, resnet_gp, sngan
from gan.models.layers import ConditionalBatchNorm2d, LabelPlaneConv2d, LogitLayer, MinibatchStd
from gan.models.networks import AuxiliaryDiscriminator
from tests.helpers import NEED_CLASSES, NETWORKS, ROOT, each_model


def build(model, channels=1, image_size=28, num_classes=10):
    shape = {"channels": channels, "image_size": image_size, "num_classes": num_classes}
    of_generator, generator, of_discriminator, discriminator = NETWORKS[model]
    return of_generator.Generator(**shape, **generator), of_discriminator.Discriminator(**shape, **discriminator)


def test_every_model_of_the_configs_is_here():
    assert set(NETWORKS) == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}


@each_model
@pytest.mark.parametrize(("channels", "image_size"), [(1, 28), (3, 32), (1, 64), (4, 48)])
@pytest.mark.parametrize("num_classes", [0, 10])
def test_shapes_ranges_and_gradients(model, channels, image_size, num_classes):
    num_classes = num_classes or (2 if model in NEED_CLASSES else 0)
    generator, discriminator = build(model, channels, image_size, num_classes)
    labels = torch.arange(6) % max(num_classes, 1)
    images = generator(torch.randn(6, generator.z_dim), labels)
    assert images.shape == (6, channels, image_size, image_size)
    assert images.min() >= -1
    assert images.max() <= 1
    logits = discriminator(images, labels)
    assert logits.shape == (6,)
    if isinstance(discriminator, AuxiliaryDiscriminator):
        z = torch.randn(6, generator.z_dim)
        logits, auxiliary_loss = discriminator.judge_with_auxiliary(images, labels, z)
        logits = logits + auxiliary_loss
    logits.sum().backward()
    for name, parameter in [*generator.named_parameters(), *discriminator.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@each_model
def test_the_label_matters_exactly_if_conditional(model):
    for num_classes in (10,) if model in NEED_CLASSES else (0, 10):
        generator, discriminator = (network.eval() for network in build(model, num_classes=num_classes))
        for module in generator.modules():  # fresh conditional batch norm treats all classes alike
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
        z, images = torch.randn(4, generator.z_dim), torch.randn(4, 1, 28, 28)
        zeros, ones = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
        assert torch.equal(generator(z, zeros), generator(z, ones)) == (num_classes == 0)
        judged = [discriminator(images, labels) for labels in (zeros, ones)]
        if model in ("acgan", "reacgan"):  # their classifiers alone use the labels
            assert torch.equal(*judged)
            two = torch.arange(4) % 2  # ReACGAN's loss needs two classes in a batch
            judged = [discriminator.judge_with_auxiliary(images, labels)[1] for labels in (two, 1 - two)]
        assert torch.equal(*judged) == (num_classes == 0)


@pytest.mark.parametrize("model", ["dcgan", "infogan", "projection", "r3gan", "biggan"])
@pytest.mark.parametrize("image_size", [4, 7, 27, 30, 38, 90])
def test_sizes_that_cannot_be_made_are_refused(model, image_size):
    with pytest.raises(InputError, match=rf"image_size={image_size}.*28, 32"):
        build(model, image_size=image_size)


def test_unknown_norm_is_refused():
    with pytest.raises(InputError, match=r"norm=group.*batch, layer, none, spectral"):
        dcgan.Discriminator(channels=1, image_size=28, num_classes=0, norm="group")


def top_singular_value(weight):
    return torch.linalg.matrix_norm(weight.flatten(1).double(), 2).item()


@pytest.mark.parametrize(
    "discriminator",
    [
        projection.Discriminator(channels=1, image_size=28, num_classes=10, width=8),
        sngan.Discriminator(channels=1, image_size=28, num_classes=10, width=8),
        dcgan.Discriminator(channels=1, image_size=28, num_classes=10, width=8, norm="spectral"),
        infogan.Discriminator(channels=1, image_size=28, num_classes=10, width=8, hidden=16, norm="spectral"),
        acgan.Discriminator(channels=1, image_size=28, num_classes=10, width=8),
        reacgan.Discriminator(channels=1, image_size=28, num_classes=10, width=8, features=16),
        biggan.Discriminator(channels=1, image_size=28, num_classes=10, width=8),
    ],
    ids=["projection", "sngan", "dcgan", "infogan", "acgan", "reacgan", "biggan"],
)
def test_every_weight_of_a_spectrally_normalized_discriminator_has_norm_one(discriminator):
    images, labels = torch.randn(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
    judge = getattr(discriminator, "judge_with_auxiliary", discriminator)  # all layers
    for _ in range(300):  # a power iteration each
        judge(images, labels)
    weights = [m.weight for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(weights) >= 3
    for weight in weights:
        assert top_singular_value(weight) == pytest.approx(1, abs=2e-2)


@pytest.mark.parametrize("model", [sngan, projection, resnet_gp, acgan, biggan])
@pytest.mark.parametrize(
    ("image_size", "size"), [(16, 4), (28, 7), (32, 8), (40, 5), (48, 6), (64, 8), (96, 6), (128, 8), (256, 8)]
)
def test_residual_discriminators_halve_as_often_as_the_size_asks_for(model, image_size, size):
    """Miyato et al. 2018, table 4: 32 px become 8 x 8, and four blocks are all there is at 32 px and below."""
    blocks = model.Discriminator(channels=3, image_size=image_size, num_classes=2, width=8).blocks
    images, labels = torch.zeros(1, 3, image_size, image_size), torch.zeros(1, dtype=torch.long)
    assert blocks(images, labels).shape == (1, 8, size, size)
    assert [block.down for block in blocks[-2:]] == [False, False]
    assert image_size > 32 or len(blocks) == 4


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"padding": 1}, {}])
@pytest.mark.parametrize("num_classes", [0, 1, 3, 40])  # fewer than images, and more
@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_label_planes_equal_channels_that_are_joined_to_the_image(kernel_size, num_classes, options):
    """By values, and by first and second derivatives, where the planes meet the zero padding at the border too."""
    layer = LabelPlaneConv2d(2, num_classes, 5, kernel_size, **options).double()
    images = torch.randn(8, 2, 9, 9, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(8) * 7 % max(num_classes, 1)
    planes = torch.eye(max(num_classes, 1), dtype=torch.float64)[labels, :num_classes, None, None].expand(-1, -1, 9, 9)
    joined = torch.cat([images, planes], dim=1)
    results = []
    for output in (layer(images, labels), nn.functional.conv2d(joined, layer.weight, layer.bias, **options)):
        (slope,) = torch.autograd.grad(output.tanh().sum(), images, create_graph=True)
        parts = torch.autograd.grad(slope.square().sum() + output.sum(), [layer.weight, layer.bias])
        results.append([output, slope, *parts])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", ["sngan", "dcgan"])
def test_a_forward_takes_one_step_of_the_power_iteration(model):
    """`weight` of a spectrally normalized layer is computed anew, with one more step, each time that it is read."""
    options = {"norm": "spectral"} if model == "dcgan" else {}
    discriminator = NETWORKS[model][2].Discriminator(channels=1, image_size=28, num_classes=3, width=8, **options)
    reads = []
    for layer in discriminator.modules():
        if isinstance(layer, nn.utils.parametrizations._SpectralNorm):
            layer.register_forward_hook(lambda layer, *_: reads.append(id(layer)))
    discriminator(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))
    assert reads
    assert len(reads) == len(set(reads))


def test_the_generator_is_not_spectrally_normalized():
    generator, _ = build("projection")
    assert not any(nn.utils.parametrize.is_parametrized(module) for module in generator.modules())


@pytest.mark.parametrize(("n", "size"), [(8, 4), (4, 4), (6, 3), (7, 1), (2, 2), (10, 2)])
def test_minibatch_std_is_the_mean_deviation_within_groups(n, size):
    """Sample i is in a group with the samples whose number differs by multiples of N / size."""
    x = torch.randn(n, 3, 2, 5)
    out = MinibatchStd()(x)
    assert torch.equal(out[:, :3], x)
    for i in range(n):
        deviation = x[i % (n // size) :: n // size].double().std(0, correction=0)
        torch.testing.assert_close(
            out[i, 3].double(), deviation.square().add(1e-8).sqrt().mean().expand(2, 5), rtol=1e-5, atol=1e-7
        )


def test_minibatch_std_by_hand_and_differentiably_where_all_samples_are_equal():
    x = torch.tensor([1.0, 3.0, 1.0, 5.0]).view(4, 1, 1, 1)
    expected = ((1.5**2 * 2 + 0.5**2 + 2.5**2) / 4 + 1e-8) ** 0.5
    assert MinibatchStd()(x)[:, 1].flatten().tolist() == pytest.approx([expected] * 4)
    equal = torch.ones(4, 1, 2, 2, requires_grad=True)
    out = MinibatchStd()(equal)
    assert out[:, 1].flatten().tolist() == pytest.approx([1e-4] * 16)
    assert torch.isfinite(torch.autograd.grad(out.sum(), equal)[0]).all()


@pytest.mark.parametrize("model", ["dcgan", "sngan", "projection", "resnet_gp"])
def test_minibatch_std_adds_its_channel_to_one_layer(model):
    *_, module, options = NETWORKS[model]
    shape = {"channels": 1, "image_size": 28, "num_classes": 10, **options}
    off, on = (module.Discriminator(**shape, minibatch_std=chosen) for chosen in (False, True))
    assert module.Discriminator(**shape).state_dict().keys() == off.state_dict().keys()
    added = sum(p.numel() for p in on.parameters()) - sum(p.numel() for p in off.parameters())
    # dcgan: 7x7 more inputs of the dense layer; resnets: a channel of the last block's 3x3, and a 1x1 shortcut
    assert added == (7 * 7 if model == "dcgan" else 9 * 8 + (8 + 1) * 8 + 8)
    images, labels = torch.randn(4, 1, 28, 28), torch.zeros(4, dtype=torch.long)
    others = images * torch.tensor([1, 9, 9, 9]).view(4, 1, 1, 1)
    for network, mixes in ((off.eval(), False), (on.eval(), True)):
        assert torch.allclose(network(images, labels)[0], network(others, labels)[0]) != mixes


def test_projection_is_the_inner_product_with_sum_pooled_features():
    """Miyato & Koyama 2018, eq. 3, written out on a discriminator's own parts."""
    _, discriminator = build("projection")
    discriminator.eval()
    images, labels = torch.randn(5, 1, 28, 28), torch.tensor([0, 3, 3, 9, 1])
    phi = torch.relu(discriminator.blocks(images, labels)).flatten(2).sum(2)
    expected = torch.einsum("nd,nd->n", discriminator.v.weight[labels], phi) + discriminator.psi(phi)[:, 0]
    torch.testing.assert_close(discriminator(images, labels), expected)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_labels_enter_dcgans_discriminator_at_its_end_with_projection(norm):
    shape = {"channels": 1, "image_size": 28, "width": 8, "norm": norm, "projection": True}
    discriminator = dcgan.Discriminator(**shape, num_classes=10).eval()
    images, labels = torch.randn(5, 1, 28, 28), torch.tensor([0, 3, 3, 9, 1])
    phi = discriminator.body(images, labels)
    torch.testing.assert_close(phi, discriminator.body(images, labels.flip(0)))
    expected = torch.einsum("nd,nd->n", discriminator.v.weight[labels], phi) + discriminator.psi(phi)[:, 0]
    torch.testing.assert_close(discriminator(images, labels), expected)
    if norm == "batch":
        assert discriminator.v.weight.detach().std() == pytest.approx(0.02, rel=0.05)
    with pytest.raises(InputError, match="model=dcgan_projection: needs at least 2 classes, these images have 0"):
        dcgan.Discriminator(**shape, num_classes=0)


def test_generator_block_equals_the_papers_order_of_layers():
    """The shortcut is convolved before upsampling; a 1x1 convolution gives the same either way."""
    block = resnet.GeneratorBlock(3, 4, partial(ConditionalBatchNorm2d, num_classes=2)).eval()
    x, labels = torch.randn(2, 3, 5, 5), torch.tensor([0, 1])
    up = nn.Upsample(scale_factor=2)
    h = block.conv2(torch.relu(block.norm2(block.conv1(up(torch.relu(block.norm1(x, labels)))), labels)))
    torch.testing.assert_close(block(x, labels), h + block.shortcut(up(x)))


def test_conditional_batch_norm_starts_as_plain_batch_norm_and_then_follows_the_class():
    norm, x = ConditionalBatchNorm2d(3, 4), torch.randn(8, 3, 5, 5) * 2 + 1
    labels = torch.arange(8) % 4
    standard = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x, labels), standard, rtol=1e-4, atol=1e-5)
    nn.init.constant_(norm.gain.weight[2].data, 3.0)
    nn.init.constant_(norm.bias.weight[2].data, -1.0)
    expected = torch.where((labels == 2)[:, None, None, None], 3 * standard - 1, standard)
    torch.testing.assert_close(norm(x, labels), expected, rtol=1e-4, atol=1e-5)


def test_dcgan_is_the_papers_at_its_width():
    """Radford et al. 2016, figure 1: 1024-512-256-128 channels from 4 px to 64 px."""
    generator = dcgan.Generator(channels=3, image_size=64, num_classes=0)
    convolutions = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    assert generator(torch.randn(2, 100), torch.zeros(2, dtype=torch.long)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(("image_size", "expected"), [(28, 2_444_377), (32, 2_813_257)])
def test_the_assignments_networks_have_exactly_its_parameters(image_size, expected):
    shape = {"channels": 1, "image_size": image_size, "num_classes": 10}
    networks = assignment.Generator(**shape), assignment.Discriminator(**shape)
    assert sum(p.numel() for network in networks for p in network.parameters()) == expected


def test_the_assignments_eps_is_an_argument():
    shape = {"channels": 1, "image_size": 28, "num_classes": 10}
    for options, expected in (({}, 1e-5), ({"batch_norm_eps": 0.8}, 0.8)):
        norms = [m for m in assignment.Generator(**shape, **options).modules() if isinstance(m, nn.BatchNorm1d)]
        assert [(norm.num_features, norm.eps) for norm in norms] == [(256, expected), (512, expected), (1024, expected)]


def test_infogan_has_the_layers_of_lucic_et_al():
    """G fc1024 - fc6272 - deconv64 - deconv1, D conv64 - conv128 - fc1024 - fc1, at 28 px."""
    shape = {"channels": 1, "image_size": 28, "num_classes": 0}
    layers = nn.Linear, nn.Conv2d, nn.ConvTranspose2d
    outputs = [
        [
            m.out_features if isinstance(m, nn.Linear) else m.out_channels
            for m in network.modules()
            if isinstance(m, layers)
        ]
        for network in (infogan.Generator(**shape), infogan.Discriminator(**shape))
    ]
    assert outputs == [[1024, 6272, 64, 1], [64, 128, 1024, 1]]


@pytest.mark.parametrize(("model", "penalized"), [("resnet_gp", True), ("r3gan", True), ("dcgan", False)])
def test_critics_made_for_penalties_have_no_normalization(model, penalized):
    _, discriminator = build(model)
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    assert any(isinstance(m, norms) for m in discriminator.modules()) != penalized


def test_r3gan_starts_as_if_its_blocks_were_not_there():
    """Zhang et al. 2019, Fixup: the last convolution of each residual branch is zero."""
    blocks = [m for network in build("r3gan") for m in network.modules() if isinstance(m, r3gan.Block)]
    assert len(blocks) == 6
    for block in blocks:
        x = torch.randn(2, block.branch[0].in_channels, 4, 4)
        assert torch.equal(block(x), x)


def test_halving_by_pooling_is_bilinear_interpolation():
    x = torch.randn(2, 3, 8, 8)
    expected = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear")
    torch.testing.assert_close(r3gan.Resample(3, 3, 0.5)(x), expected)


def test_sum_and_mean_pooling_are_where_their_papers_have_them():
    """On features that are constant over the map the two differ by the number of pixels."""
    for model, pooled in ((sngan, 49.0), (resnet_gp, 1.0)):
        discriminator = model.Discriminator(channels=1, image_size=28, num_classes=0, width=8).eval()
        discriminator.blocks.forward = lambda images, labels: images
        head = discriminator.psi if model is sngan else discriminator.head
        logits = discriminator(torch.ones(2, 8, 7, 7), torch.zeros(2, dtype=torch.long))
        torch.testing.assert_close(logits[0], pooled * head.weight.sum() + head.bias[0])


def find_logit_layer(discriminator):
    """Return the layer of the logits; that of an auxiliary task comes after it."""
    last, *others = (module for module in discriminator.modules() if isinstance(module, LogitLayer))
    assert len(others) == isinstance(discriminator, AuxiliaryDiscriminator)
    return last


def mixed(discriminator, images, labels):
    """Return logits as trainer.precision=bf16-mixed computes them."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        return discriminator(images, labels)


@each_model
def test_the_last_layer_computes_in_float32_under_autocast(model):
    """The logits are those of the rounded features by a float32 layer, to float32's digits."""
    _, discriminator = build(model)
    discriminator.eval()
    last = find_logit_layer(discriminator)
    features = []
    last.register_forward_hook(lambda _, inputs, outputs: features.append((inputs[0].float(), outputs)))
    images, labels = torch.randn(6, 1, 28, 28), torch.arange(6)
    logits = mixed(discriminator, images, labels)
    (phi, outputs), classes = features[0], getattr(discriminator, "v", None)
    expected = nn.functional.linear(
        phi.double(), last.weight.double(), None if last.bias is None else last.bias.double()
    )
    torch.testing.assert_close(outputs.double(), expected, rtol=1e-5, atol=1e-6)
    if model == "r3gan":
        expected = (expected * classes.weight[labels].double()).sum(1, keepdim=True)
    elif classes is not None:
        expected = expected + (classes.weight[labels].double() * phi.double()).sum(1, keepdim=True)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected.squeeze(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [model for model in NETWORKS if model != "r3gan"])  # which has no bias there
def test_autocast_resolves_logits_that_are_large_and_alike(model):
    """Around 100 neighbors in bfloat16 are 0.5 apart."""
    _, discriminator = build(model)
    discriminator.eval()
    last = find_logit_layer(discriminator)
    nn.init.constant_(last.bias, 100.0)
    images, labels = torch.rand(64, 1, 28, 28) * 2 - 1, torch.arange(64) % 10
    with torch.no_grad():
        exact = discriminator(images, labels)
    logits = mixed(discriminator, images, labels)
    differences = [values[:32] - values[32:] for values in (logits, exact, exact.bfloat16().float())]
    error, of_rounding = ((differences[i] - differences[1]).square().mean().sqrt() for i in (0, 2))
    assert error < of_rounding / 4
