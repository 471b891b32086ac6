"""Penalties against the closed form of a linear critic, and against the mistakes that are common in the wild."""

import pytest
import torch
from torch import nn

from gan.errors import InputError
from gan.models import dcgan
from gan.penalties import DRAGAN, R1, R2, GradientPenalty, compute_gradients, get_interval

SHAPES = [(1, 1, 8, 8), (5, 1, 28, 28), (3, 3, 32, 32), (7, 2, 4, 4)]


class Linear(nn.Module):
    """The critic D(x) = <w, x>, whose gradient is w everywhere."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape) * 0.1)

    def forward(self, images, labels):
        return (images * self.w).flatten(1).sum(1)


def batch(shape):
    real, fake = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    return real, fake, torch.zeros(shape[0], dtype=torch.long)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [1.0, 10.0])
@pytest.mark.parametrize("kind", [GradientPenalty, DRAGAN])
def test_two_sided_penalties_of_a_linear_critic(kind, shape, weight):
    critic = Linear(*shape[1:])
    penalty = kind(weight=weight)(critic, *batch(shape))
    norm = critic.w.norm()
    assert penalty.item() == pytest.approx(weight * (norm.item() - 1) ** 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    expected = 2 * weight * (norm - 1) * critic.w / norm
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gamma", [0.1, 10.0])
@pytest.mark.parametrize("kind", [R1, R2])
def test_squared_penalties_of_a_linear_critic(kind, shape, gamma):
    critic = Linear(*shape[1:])
    penalty = kind(gamma=gamma)(critic, *batch(shape))
    assert penalty.item() == pytest.approx(gamma / 2 * critic.w.square().sum().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    torch.testing.assert_close(gradient, gamma * critic.w.detach(), rtol=1e-4, atol=1e-6)


class Quadratic(nn.Module):
    """D(x) = |x|^2 / 2, whose gradient is x: a penalty tells where it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def forward(self, images, labels):
        self.seen.append(images.detach())
        return images.square().flatten(1).sum(1) / 2


def test_r1_is_taken_at_the_reals_and_r2_at_the_fakes():
    real, fake, labels = batch((6, 1, 4, 4))
    fake = nn.Parameter(fake) * 1.0  # not a leaf
    for kind, images in ((R1, real), (R2, fake)):
        expected = images.detach().flatten(1).square().sum(1).mean() / 2
        torch.testing.assert_close(kind(gamma=1.0)(Quadratic(), real, fake, labels), expected)


def test_dragan_looks_around_the_reals_on_both_sides():
    real, fake, labels = batch((200, 1, 8, 8))
    critic = Quadratic()
    DRAGAN()(critic, real, fake, labels)
    noise = (critic.seen[0] - real) / real.std()
    assert noise.abs().max() <= 0.5
    assert noise.min() < -0.49
    assert noise.max() > 0.49
    assert noise.mean().abs() < 0.02  # one-sided noise has a mean of 0.25


def test_gradient_penalty_takes_the_mean_over_samples_of_their_own_norms():
    """A critic with a different gradient for each sample: norms over the batch, or summed, would differ."""

    class Scaled(nn.Module):
        def forward(self, images, labels):
            return images.flatten(1).sum(1) * (labels + 1)

    real, fake, _ = batch((3, 1, 2, 2))
    penalty = GradientPenalty(weight=1.0)(Scaled(), real, fake, torch.tensor([0, 1, 2]))
    norms = [2.0, 4.0, 6.0]  # k * ||ones(4)||
    assert penalty.item() == pytest.approx(sum((n - 1) ** 2 for n in norms) / 3)


def test_gradient_penalty_interpolates_with_one_share_for_each_sample():
    """D(x) = |x|^2 / 2 has the gradient x: the penalty's argument shows where it was evaluated."""
    critic = Quadratic()
    real, fake = torch.ones(64, 2, 3, 3), -torch.ones(64, 2, 3, 3)
    GradientPenalty()(critic, real, fake, torch.zeros(64, dtype=torch.long))
    points = critic.seen[0].flatten(1)
    assert (points == points[:, :1]).all()  # the same share for all pixels of a sample
    assert points[:, 0].unique().numel() > 60  # another one for the next sample
    assert points.min() < -0.8
    assert points.max() > 0.8


def test_gradient_penalty_survives_a_zero_gradient():
    critic = Linear(1, 4, 4)
    nn.init.zeros_(critic.w)
    penalty = GradientPenalty(weight=10.0)(critic, *batch((2, 1, 4, 4)))
    penalty.backward()
    assert penalty.item() == 10.0
    assert torch.isfinite(critic.w.grad).all()


def test_penalties_run_in_float32_under_autocast():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    wrapped = lambda images, labels: critic(images).squeeze(1)  # noqa: E731
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_gradients(wrapped, torch.zeros(2, 1, 4, 4), None).dtype == torch.float32


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
@pytest.mark.parametrize(
    ("kind", "name"), [(GradientPenalty, "weight"), (DRAGAN, "weight"), (R1, "gamma"), (R2, "gamma")]
)
def test_strength_and_interval_have_ranges(kind, name, value):
    with pytest.raises(InputError, match=rf"{name}=.*above 0"):
        kind(**{name: value})
    for interval in (0, 1.5):
        with pytest.raises(InputError, match=r"interval=.*whole number"):
            kind(interval=interval)


@pytest.mark.parametrize(("norm", "mixes"), [("batch", True), ("layer", False), ("none", False), ("spectral", False)])
def test_only_batch_norm_mixes_the_gradients_of_samples(norm, mixes):
    """d D(x_0) / d x_1 is zero exactly if samples do not see each other."""
    discriminator = dcgan.Discriminator(channels=1, image_size=28, num_classes=0, width=8, norm=norm)
    images = torch.randn(4, 1, 28, 28, requires_grad=True)
    logits = discriminator(images, torch.zeros(4, dtype=torch.long))
    (gradient,) = torch.autograd.grad(logits[0], images)
    assert (gradient[1].abs().max() > 0) == mixes


def test_a_function_is_a_penalty_of_every_update():
    assert get_interval(lambda *_: 0) == 1
    assert get_interval(R1(interval=16)) == 16
