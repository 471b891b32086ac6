"""InfoGAN's latent code: what of z it is, Q's loss by definition, who minimizes it, and the traversal picture."""

import math

import pytest
import torch
from PIL import Image

from gan.errors import InputError
from gan.gan import GAN
from gan.losses import BCE
from gan.models import infogan, infogan_code
from gan.models.networks import AuxiliaryDiscriminator, CodedGenerator
from gan.priors import normal, uniform
from tests.helpers import FEW_FAKES, NARROW
from tests.test_gan import trained

SHAPE = {"channels": 1, "image_size": 28, "num_classes": 0}
NONE = torch.zeros(6, dtype=torch.long)


def build(categories=4, continuous=2, **options):
    code = {"categories": categories, "continuous": continuous}
    generator = infogan_code.Generator(**SHAPE, width=8, hidden=16, z_dim=12, **code)
    return generator, infogan_code.Discriminator(**SHAPE, width=8, hidden=16, **code, **options)


def test_networks_have_the_interfaces_of_a_code_and_the_papers_sizes():
    """Chen et al. 2016, appendix C.1: 62 numbers of noise, 10 categories and 2 numbers; Q has a layer of 128."""
    generator, discriminator = infogan_code.Generator(**SHAPE), infogan_code.Discriminator(**SHAPE)
    assert isinstance(generator, CodedGenerator)
    assert isinstance(discriminator, AuxiliaryDiscriminator)
    assert generator.z_dim == 62 + 10 + 2
    plain = infogan.Generator(**SHAPE, z_dim=74), infogan.Discriminator(**SHAPE)
    counts = [sum(p.numel() for p in network.parameters()) for network in (generator, discriminator, *plain)]
    assert counts[0] == counts[2]
    assert counts[1] - counts[3] == (1024 + 1) * 128 + 2 * 128 + (128 + 1) * 12
    assert not isinstance(plain[0], CodedGenerator)
    assert not isinstance(plain[1], AuxiliaryDiscriminator)


@pytest.mark.parametrize("prior", [normal, uniform])
def test_the_category_is_one_hot_and_all_are_equally_likely(prior):
    generator, _ = build()
    seen = []
    generator.body.register_forward_hook(lambda _, inputs, outputs: seen.append(inputs[0]))
    z = prior(4000, 12)
    generator(z, torch.zeros(4000, dtype=torch.long))
    code = seen[0][:, :4]
    assert torch.equal(code.sum(1), torch.ones(4000))
    assert torch.equal(code.argmax(1), z[:, :4].argmax(1))
    assert torch.equal(seen[0][:, 4:], z[:, 4:])
    shares = code.mean(0)
    assert (shares - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_the_loss_is_minus_the_log_probability_of_the_code_under_q():
    """Chen et al. 2016, eq. 5, without the entropy of the code: a categorical Q and a normal one of variance 1."""
    _, discriminator = build()
    discriminator.eval()
    images, z = torch.randn(6, 1, 28, 28), torch.randn(6, 12)
    logits, loss = discriminator.judge_with_auxiliary(images, NONE, z)
    assert torch.equal(logits, discriminator(images, NONE))
    features = []
    discriminator.body[-1].register_forward_hook(lambda _, inputs, outputs: features.append(inputs[0]))
    discriminator(images, NONE)
    outputs = discriminator.q(features[0]).detach().double()
    expected = 0.0
    for i in range(6):
        shares = outputs[i, :4].exp() / outputs[i, :4].exp().sum()
        expected -= math.log(shares[z[i, :4].argmax()]) / 6
        for j in (4, 5):
            density = math.exp(-((z[i, j] - outputs[i, j]) ** 2) / 2)  # times a constant
            expected -= math.log(density) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert discriminator.judge_with_auxiliary(images, NONE)[1] == 0  # of reals


@pytest.mark.parametrize(("categories", "continuous"), [(4, 0), (0, 2)])
def test_a_code_may_have_one_part_only(categories, continuous):
    generator, discriminator = build(categories, continuous)
    images, z = torch.randn(6, 1, 28, 28), torch.randn(6, 12)
    discriminator.judge_with_auxiliary(images, NONE, z)[1].backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in discriminator.q[0].parameters() if parameter.dim() > 1)
    assert len(generator.traverse_code(z)) == categories + continuous


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("Generator", {"categories": 1}, r"generator\.categories=1 and continuous=2: .*at least 2.*model=infogan"),
        ("Generator", {"categories": 0, "continuous": 0}, r"generator\.categories=0 and continuous=0: "),
        ("Discriminator", {"continuous": -1}, r"generator\.categories=10 and continuous=-1: "),
        ("Generator", {"z_dim": 11}, r"generator\.z_dim=11: must be at least the 12 numbers of the code"),
        ("Discriminator", {"auxiliary_weight": 0.0}, r"discriminator\.auxiliary_weight=0: must be above 0"),
    ],
)
def test_other_codes_are_refused(network, options, message):
    with pytest.raises(InputError, match=rf"^model\.{message}"):
        getattr(infogan_code, network)(**SHAPE, **options)


def test_both_players_minimize_it_on_fakes(monkeypatch):
    optimizer = dict.fromkeys(("generator", "discriminator"), lambda parameters: torch.optim.SGD(parameters, lr=1.0))
    generator, discriminator = build(auxiliary_weight=0.25, norm="none")
    gan, updated = GAN(generator, discriminator, loss=BCE(), optimizer=optimizer).eval(), []
    monkeypatch.setattr(GAN, "update", lambda self, optimizer, loss: updated.append(loss))
    monkeypatch.setattr(GAN, "optimizers", lambda self, **_: (None, None))
    real, fake = torch.randn(6, 1, 28, 28), gan.sample(NONE)
    gan.discriminator_step(real, fake, NONE, 0)
    gan.generator_step(real, fake, NONE)
    real_logits, (fake_logits, loss) = (
        discriminator(real, NONE),
        discriminator.judge_with_auxiliary(fake, NONE, gan.latest_z),
    )
    expected = [BCE().discriminator(real_logits, fake_logits), BCE().generator(fake_logits)]
    torch.testing.assert_close(updated, [adversarial + 0.25 * loss for adversarial in expected])


@pytest.mark.parametrize(("n_critic", "fresh_fakes"), [(1, False), (2, False), (2, True)])
def test_the_z_that_q_predicts_is_that_of_its_fakes(configure, monkeypatch, n_critic, fresh_fakes):
    matched = []
    judge = infogan_code.Discriminator.judge_with_auxiliary
    forward = infogan_code.Generator.forward
    generated = []

    def recorded(self, z, labels):
        images = forward(self, z, labels)
        generated.append((images.detach(), z))
        return images

    def compared(self, images, labels, z=None):
        if z is not None:
            of_these = [other for fakes, other in generated if torch.equal(fakes, images.detach())]
            matched.append(len(of_these) == 1 and torch.equal(of_these[0], z))
        return judge(self, images, labels, z)

    monkeypatch.setattr(infogan_code.Generator, "forward", recorded)
    monkeypatch.setattr(infogan_code.Discriminator, "judge_with_auxiliary", compared)
    options = [f"n_critic={n_critic}", f"fresh_fakes={fresh_fakes}", "trainer.max_steps=2", "metrics=none"]
    trained(configure, monkeypatch, "model=infogan_code", *NARROW["infogan_code"], *options)
    assert matched == [True] * 2 * (n_critic + 1)


def test_rows_of_the_traversal_vary_one_part_of_the_code():
    """Chen et al. 2016, figure 2: all categories of each z, and numbers from -2 to 2."""
    generator, _ = build()
    z = torch.randn(5, 12)
    rows = generator.traverse_code(z)
    assert list(rows) == ["category 0", "category 1", "category 2", "category 3", "code 1", "code 2"]
    for i in range(4):
        row = rows[f"category {i}"]
        assert (row[:, :4].argmax(1) == i).all()
        assert torch.equal(row[:, 4:], z[:, 4:])
    for i in (1, 2):
        row = rows[f"code {i}"]
        assert torch.equal(row[:, 3 + i], torch.linspace(-2, 2, 5))
        others = [j for j in range(12) if j != 3 + i]
        assert torch.equal(row[:, others], z[:1, others].expand(5, -1))


def test_an_evaluation_draws_the_traversal(configure, monkeypatch, tmp_path):
    options = ["trainer.max_steps=2", "trainer.val_check_interval=2", "conditional=false", *FEW_FAKES]
    trained(configure, monkeypatch, "model=infogan_code", *NARROW["infogan_code"], *options)
    with Image.open(tmp_path / "run" / "samples" / "traversal" / "step_000002.png") as picture:
        assert picture.size[1] == 12 * 58 + 2
        assert picture.size[0] > 10 * 58 + 2  # with the names of the rows
