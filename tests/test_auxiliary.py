"""Discriminators that classify: their losses by definition, and how the game adds them."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE
from gan.models import acgan, reacgan, resnet, sngan
from gan.models.networks import AuxiliaryDiscriminator
from gan.models.reacgan import compute_d2d_cross_entropy
from tests.helpers import NARROW
from tests.test_gan import trained

SHAPE = {"channels": 1, "image_size": 28, "num_classes": 3}
MODELS = {"acgan": acgan.Discriminator, "reacgan": reacgan.Discriminator}
each_classifier = pytest.mark.parametrize("model", MODELS)
MARGINS = {"temperature": 0.5, "positive_margin": 0.98, "negative_margin": 0.02}


def build(model, **options):
    return MODELS[model](**SHAPE, width=8, **({"features": 6} if model == "reacgan" else {}), **options)


def test_only_those_with_a_classifier_are_taken_for_one():
    assert all(isinstance(build(model), AuxiliaryDiscriminator) for model in MODELS)
    assert not isinstance(sngan.Discriminator(**SHAPE, width=8), AuxiliaryDiscriminator)


def test_acgans_loss_is_the_mean_negative_log_probability_of_the_class():
    """Odena et al. 2017, eq. 3, up to its sign."""
    discriminator = build("acgan").eval()
    images, labels = torch.randn(5, 1, 28, 28), torch.tensor([0, 2, 1, 1, 0])
    logits, loss = discriminator.judge_with_auxiliary(images, labels)
    assert torch.equal(logits, discriminator(images, labels))
    phi = torch.relu(discriminator.blocks(images, labels)).flatten(2).sum(2)
    scores = (phi @ discriminator.classifier.weight.T + discriminator.classifier.bias).detach().double()
    shares = scores.exp() / scores.exp().sum(1, keepdim=True)
    expected = -sum(math.log(shares[i, label]) for i, label in enumerate(labels)) / 5
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margins", [MARGINS, {"temperature": 0.2, "positive_margin": 0.1, "negative_margin": -0.3}])
def test_reacgans_loss_is_the_papers(margins):
    """Kang et al. 2021, eq. 8, by loops."""
    labels = torch.tensor([0, 1, 0, 2, 2, 1, 0])
    f = normalize(torch.randn(7, 4, dtype=torch.double))
    v = normalize(torch.randn(3, 4, dtype=torch.double))[labels]
    v[0] = f[0]  # within the margin
    expected = 0.0
    for i in range(7):
        t, m_p, m_n = margins.values()
        positive = math.exp(min(float(f[i] @ v[i]) - m_p, 0) / t)
        others = [j for j in range(7) if labels[j] != labels[i]]
        negatives = sum(math.exp(max(float(f[i] @ f[j]) - m_n, 0) / t) for j in others)
        expected -= math.log(positive / (positive + negatives)) / 7
    assert compute_d2d_cross_entropy(f, v, labels, **margins).item() == pytest.approx(expected)


def test_reacgans_loss_of_a_single_class_is_zero_with_zero_gradient():
    """No sample of another class is there to push away from."""
    f = normalize(torch.randn(4, 5)).requires_grad_()
    loss = compute_d2d_cross_entropy(f, torch.roll(f.detach(), 1, 0), torch.zeros(4, dtype=torch.long), **MARGINS)
    loss.backward()
    assert loss == 0
    assert torch.equal(f.grad, torch.zeros_like(f))


def test_reacgans_embeddings_and_class_vectors_have_length_one(monkeypatch):
    seen = []
    monkeypatch.setattr(reacgan, "compute_d2d_cross_entropy", lambda *inputs, **options: seen.append((inputs, options)))
    discriminator = build("reacgan").eval()
    images, labels = 5 * torch.randn(4, 1, 28, 28), torch.tensor([0, 2, 1, 1])
    discriminator.judge_with_auxiliary(images, labels)
    ((f, v, used),) = (inputs for inputs, _ in seen)
    torch.testing.assert_close(torch.cat([f, v]).norm(dim=1), torch.ones(8))
    phi = torch.relu(discriminator.blocks(images, labels)).flatten(2).sum(2)
    torch.testing.assert_close(f, normalize(phi @ discriminator.embed.weight.T + discriminator.embed.bias))
    torch.testing.assert_close(v, normalize(discriminator.proxies.weight[labels]))
    assert torch.equal(used, labels)
    assert seen[0][1] == MARGINS


@each_classifier
def test_parameters_are_sngans_without_labels_and_the_classifiers(model):
    def count(network):
        return sum(p.numel() for p in network.parameters())

    trunk = count(sngan.Discriminator(**SHAPE | {"num_classes": 0}, width=8))
    assert trunk == (9 * 8 + 8 + 584 + 16) + 584 * 2 + 72 + 584 * 4 + 9  # first block, one that halves, two, psi
    assert count(build(model)) - trunk == {"acgan": (8 + 1) * 3, "reacgan": (8 + 1) * 6 + 3 * 6}[model]


@each_classifier
@pytest.mark.parametrize("num_classes", [0, 1])
def test_it_needs_classes(model, num_classes):
    with pytest.raises(InputError, match=rf"^model={model}: needs at least 2 classes, these images have {num_classes}"):
        MODELS[model](**SHAPE | {"num_classes": num_classes}, width=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"auxiliary_weight": 0.0}, r"auxiliary_weight=0: must be above 0; model=sngan"),
        ({"temperature": 0.0}, r"temperature=0: must be above 0"),
        ({"positive_margin": 1.5}, r"positive_margin=1.5: must be a cosine, from -1 to 1"),
        ({"negative_margin": -2.0}, r"negative_margin=-2: must be a cosine"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(InputError, match=rf"^model\.discriminator\.{message}"):
        build("reacgan", **options)


@each_classifier
def test_the_classifier_computes_in_float32_under_autocast(model):
    """From the same bfloat16 features, in one forward pass."""
    discriminator = build(model).eval()
    images, labels = torch.randn(6, 1, 28, 28), torch.arange(6) % 3
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss = discriminator.judge_with_auxiliary(images, labels)[1]
        phi = discriminator.extract_features(images, labels)
    assert phi.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(loss, discriminator.compute_auxiliary_loss(phi, labels), rtol=1e-6, atol=1e-6)


def build_game(model, weight):
    torch.manual_seed(0)
    optimizer = dict.fromkeys(("generator", "discriminator"), lambda parameters: torch.optim.SGD(parameters, lr=1.0))
    discriminator = build(model, auxiliary_weight=weight)
    return GAN(resnet.Generator(**SHAPE, width=8, z_dim=4), discriminator, loss=BCE(), optimizer=optimizer)


@each_classifier
def test_both_players_minimize_the_weighted_sum(model, monkeypatch):
    """Odena et al. 2017: D classifies reals and fakes. Kang et al. 2021: it classifies reals only. G: its fakes."""
    weight, updated = 0.25, []
    gan = build_game(model, weight).eval()  # no step of the power iteration
    monkeypatch.setattr(GAN, "update", lambda self, optimizer, loss: updated.append(loss))
    monkeypatch.setattr(GAN, "optimizers", lambda self, **_: (None, None))
    real, labels = torch.randn(6, 1, 28, 28), torch.arange(6) % 3
    fake = gan.sample(labels)
    gan.discriminator_step(real, fake, labels, 0)
    gan.generator_step(real, fake, labels)
    (real_logits, of_reals), (fake_logits, of_fakes) = (
        gan.discriminator.judge_with_auxiliary(images, labels) for images in (real, fake)
    )
    auxiliary = weight * (of_reals + of_fakes if model == "acgan" else of_reals)
    expected = [BCE().discriminator(real_logits, fake_logits) + auxiliary, BCE().generator(fake_logits)]
    expected[1] = expected[1] + weight * of_fakes
    torch.testing.assert_close(updated, expected)
    of_player = {"discriminator": auxiliary, "generator": weight * of_fakes}
    for player, loss in of_player.items():
        torch.testing.assert_close(gan.logs[f"{player}_auxiliary_loss"], loss.detach())
    assert not gan.logs["generator_auxiliary_loss"].requires_grad
    torch.testing.assert_close(gan.logs["generator_loss"], BCE().generator(fake_logits).detach())


@each_classifier
@pytest.mark.parametrize("options", [[], ["loss=rpgan", "penalty=[r1,r2]", "n_critic=2"]], ids=" ".join)
def test_images_pass_through_the_trunk_once(configure, monkeypatch, model, options):
    """Two forward passes in D's update and one in G's, and one of the reals if the loss is relativistic."""
    passes = []
    forward = resnet.InputBlock.forward
    monkeypatch.setattr(resnet.InputBlock, "forward", lambda self, *inputs: passes.append(0) or forward(self, *inputs))
    per_step = []
    step = GAN.training_step

    def counted(self, *inputs):
        passes.clear()
        step(self, *inputs)
        per_step.append(len(passes))

    monkeypatch.setattr(GAN, "training_step", counted)
    trained(configure, monkeypatch, f"model={model}", *NARROW[model], *options, "trainer.max_steps=2", "metrics=none")
    assert per_step == [6 if options else 3] * 2


@each_classifier
def test_the_losses_of_the_classifier_are_logged(configure, monkeypatch, model):
    logged = []
    log = GAN.log_dict
    monkeypatch.setattr(GAN, "log_dict", lambda self, logs: logged.append(set(logs)) or log(self, logs))
    options = ["trainer.max_steps=1", "trainer.log_every_n_steps=1", "metrics=none", "~callbacks.throughput"]
    trained(configure, monkeypatch, f"model={model}", *NARROW[model], *options)
    assert logged[0] == {
        *("discriminator_loss", "generator_loss", "real_logits", "fake_logits"),
        *("discriminator_auxiliary_loss", "generator_auxiliary_loss"),
    }


def test_a_classifying_discriminator_of_ones_own_needs_no_base_class():
    class Own(nn.Module):
        auxiliary_weight, auxiliary_on = 1.0, ("real",)

        def judge_with_auxiliary(self, images, labels):
            """Nothing here is run."""

    assert isinstance(Own(), AuxiliaryDiscriminator)
