"""Each loss against its closed form and the gradients that follow from it, on both players' sides."""

import math

import pytest
import torch

from gan.errors import InputError
from gan.losses import (
    BCE,
    Hinge,
    LeastSquares,
    Minimax,
    RelativisticPaired,
    Wasserstein,
    is_relativistic,
    is_unbounded,
)

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
        BCE(label_smoothing=0.1),  # cross-entropy to the target 0.9, written with logarithms
        lambda r, f: -mean([0.9 * math.log(sigmoid(x)) + 0.1 * math.log(sigmoid(-x)) for x in r]) + mean([*map(sp, f)]),
        lambda f: mean([sp(-x) for x in f]),
        lambda x: sigmoid(x) - 0.9,
        sigmoid,
        lambda x: -sigmoid(-x),
    ),
    (
        Minimax(),
        lambda r, f: mean([sp(-x) for x in r]) + mean([sp(x) for x in f]),
        lambda f: mean([math.log(1 - sigmoid(x)) for x in f]),
        lambda x: -sigmoid(-x),
        sigmoid,
        lambda x: -sigmoid(x),
    ),
    (
        LeastSquares(),
        lambda r, f: mean([(x - 1) ** 2 / 2 for x in r]) + mean([x**2 / 2 for x in f]),
        lambda f: mean([(x - 1) ** 2 / 2 for x in f]),
        lambda x: x - 1,
        lambda x: x,
        lambda x: x - 1,
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
    ("loss", "d_value", "g_value", "d_real", "d_fake", "g_fake"),
    CASES,
    ids=[type(case[0]).__name__ + str(vars(case[0])) for case in CASES],
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


LOSSES = [*(case[0] for case in CASES), RelativisticPaired()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__ + str(vars(loss)))
def test_both_players_pull_the_right_way(loss):
    low, high = torch.full((4,), -0.5), torch.full((4,), 0.5)
    assert loss.discriminator(high, low) < loss.discriminator(low, high)  # D wants reals above fakes
    zeros = torch.zeros(4)
    assert loss.generator(high, zeros) < loss.generator(low, zeros)  # G wants its fakes scored high


def test_the_saturating_generator_has_no_gradient_where_the_non_saturating_has_the_most():
    """Goodfellow et al. 2014, section 3: the two part where D is sure of its fakes."""
    for loss, expected in ((Minimax(), 0.0), (BCE(), -1.0)):
        fake = torch.tensor([-30.0], requires_grad=True)
        loss.generator(fake).backward()
        assert fake.grad.item() == pytest.approx(expected, abs=1e-6)


def test_relativistic_pairs_compare_each_fake_with_its_own_real():
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    pairs = list(zip(REAL.tolist(), FAKE.tolist(), strict=True))
    loss = RelativisticPaired().discriminator(real, fake)
    assert loss.item() == pytest.approx(mean([sp(-(r - f)) for r, f in pairs]), abs=1e-12)
    loss.backward()
    slopes = [sigmoid(f - r) / 3 for r, f in pairs]
    assert real.grad.tolist() == pytest.approx([-slope for slope in slopes])
    assert fake.grad.tolist() == pytest.approx(slopes)
    fake.grad = None
    loss = RelativisticPaired().generator(fake, real.detach())
    assert loss.item() == pytest.approx(mean([sp(-(f - r)) for r, f in pairs]), abs=1e-12)
    loss.backward()
    assert fake.grad.tolist() == pytest.approx([-sigmoid(r - f) / 3 for r, f in pairs])


def test_a_shift_of_all_logits_does_not_change_a_relativistic_loss():
    loss = RelativisticPaired()
    torch.testing.assert_close(loss.discriminator(REAL + 7, FAKE + 7), loss.discriminator(REAL, FAKE))


@pytest.mark.parametrize("real", [None, torch.zeros(2), torch.zeros(3, 1), torch.zeros(())])
def test_batches_that_do_not_pair_are_refused(real):
    for player in ("generator", "discriminator"):
        with pytest.raises(InputError, match=r"loss=rpgan: .*\(N,\)"):
            getattr(RelativisticPaired(), player)(*((real, FAKE) if player == "discriminator" else (FAKE, real)))


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_label_smoothing_has_a_range(value):
    with pytest.raises(InputError, match=r"label_smoothing=.*at least 0 and below 1"):
        BCE(label_smoothing=value)


def test_a_class_that_says_nothing_else_is_a_plain_loss():
    assert (is_relativistic(object()), is_unbounded(object())) == (False, False)
    assert [type(loss).__name__ for loss in LOSSES if is_relativistic(loss)] == ["RelativisticPaired"]
    assert [type(loss).__name__ for loss in LOSSES if is_unbounded(loss)] == ["Wasserstein"]
