"""Each loss against its closed form and the gradients that follow from it, on both players' sides."""

import math

import pytest
import torch

from gan.losses import BCE, Hinge, Wasserstein

REAL = torch.tensor([2.0, -0.5, 0.0], dtype=torch.float64)
FAKE = torch.tensor([1.5, -3.0, 0.0], dtype=torch.float64)


def sp(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# loss, D's value, G's value, dD/d real_i, dD/d fake_i, dG/d fake_i, each for one logit before the mean over the batch
CASES = [
    (
        BCE(),
        lambda r, f: mean([sp(-x) for x in r]) + mean([sp(x) for x in f]),
        lambda f: mean([sp(-x) for x in f]),
        lambda x: -sigmoid(-x),
        sigmoid,
        lambda x: -sigmoid(-x),
    ),
    (
        Hinge(),
        lambda r, f: mean([max(0.0, 1 - x) for x in r]) + mean([max(0.0, 1 + x) for x in f]),
        lambda f: -mean(f),
        lambda x: -1.0 if x < 1 else 0.0,
        lambda x: 1.0 if x > -1 else 0.0,
        lambda x: -1.0,
    ),
    (
        Wasserstein(),
        lambda r, f: mean(f) - mean(r),
        lambda f: -mean(f),
        lambda x: -1.0,
        lambda x: 1.0,
        lambda x: -1.0,
    ),
]
each_loss = pytest.mark.parametrize(
    ("loss", "d_value", "g_value", "d_real", "d_fake", "g_fake"), CASES, ids=[type(case[0]).__name__ for case in CASES]
)


@each_loss
def test_values(loss, d_value, g_value, d_real, d_fake, g_fake):
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(d_value(REAL.tolist(), FAKE.tolist()), abs=1e-12)
    assert loss.generator(FAKE).item() == pytest.approx(g_value(FAKE.tolist()), abs=1e-12)


@each_loss
def test_gradients(loss, d_value, g_value, d_real, d_fake, g_fake):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss.discriminator(real, fake).backward()
    assert real.grad.tolist() == pytest.approx([d_real(x) / 3 for x in REAL.tolist()])
    assert fake.grad.tolist() == pytest.approx([d_fake(x) / 3 for x in FAKE.tolist()])
    fake.grad = None
    loss.generator(fake).backward()
    assert fake.grad.tolist() == pytest.approx([g_fake(x) / 3 for x in FAKE.tolist()])


def test_bce_stays_finite_and_keeps_its_gradient_where_a_sigmoid_saturates():
    logits = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = BCE().discriminator(logits, -logits)
    assert loss.item() == pytest.approx(200.0)  # softplus(200) from one of the two logits, twice, halved by the mean
    loss.backward()
    assert logits.grad.tolist() == pytest.approx([-1.0, 0.0])


@pytest.mark.parametrize("loss", [BCE(), Hinge(), Wasserstein()], ids=lambda loss: type(loss).__name__)
def test_both_players_pull_the_right_way(loss):
    low, high = torch.full((4,), -0.5), torch.full((4,), 0.5)
    assert loss.discriminator(high, low) < loss.discriminator(low, high)  # D wants reals above fakes
    assert loss.generator(high) < loss.generator(low)  # G wants its fakes scored high
