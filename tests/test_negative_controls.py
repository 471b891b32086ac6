"""Five gradient penalties as they are shipped wrongly in the wild; the check that ours passes must tell each apart."""

import pytest
import torch
from torch import Tensor, nn

from gan.penalties import R1, GradientPenalty

Z = torch.zeros(6, dtype=torch.long)


class PerSample(nn.Module):
    """D(x_i) = s_i <w, x_i> with a slope s_i of its own for each sample: the gradient's norm is s_i |w|."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.w = torch.linspace(0.1, 0.9, channels * 16).view(channels, 4, 4)
        self.slopes = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.1, 3.0])
        self.points: list[Tensor] = []

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.points.append(images.detach())
        return (images * self.w).flatten(1).sum(1) * self.slopes


def gradient(critic: nn.Module, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_(True)
    return torch.autograd.grad(critic(images, Z).sum(), images, create_graph=True)[0]


def mixed(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    return share * real + (1 - share) * fake


def norm_of_the_batch(critic, real, fake, labels):
    return 10 * (gradient(critic, mixed(real, fake, torch.rand(6, 1, 1, 1))).norm() - 1) ** 2


def one_share_for_the_batch(critic, real, fake, labels):
    return 10 * (gradient(critic, mixed(real, fake, torch.rand(1))).flatten(1).norm(dim=1) - 1).square().mean()


def norm_of_each_pixel(critic, real, fake, labels):
    return 10 * (gradient(critic, mixed(real, fake, torch.rand(6, 1, 1, 1))).norm(dim=1) - 1).square().mean()


def sum_over_the_batch(critic, real, fake, labels):
    return 10 * (gradient(critic, mixed(real, fake, torch.rand(6, 1, 1, 1))).flatten(1).norm(dim=1) - 1).square().sum()


def one_channel_hard_coded(critic, real, fake, labels):
    g = gradient(critic, mixed(real, fake, torch.rand(6, 1, 1, 1)))
    return 10 * (g.reshape(-1, 16).norm(dim=1) - 1).square().mean()


WRONG = [norm_of_the_batch, one_share_for_the_batch, norm_of_each_pixel, sum_over_the_batch, one_channel_hard_coded]


def passes(penalty) -> bool:
    """Check a gradient penalty of weight 10 against its closed form, and that each sample's share is its own."""
    real, fake = torch.ones(6, 3, 4, 4), -torch.ones(6, 3, 4, 4)
    critic = PerSample(3)
    value = penalty(critic, real, fake, Z)
    expected = 10 * (critic.slopes * critic.w.norm() - 1).square().mean()
    shares = critic.points[0].flatten(1)
    own_share = shares[:, 0].unique().numel() == 6 and bool((shares == shares[:, :1]).all())
    return own_share and torch.allclose(value, expected, rtol=1e-4)


def test_ours_passes():
    assert passes(GradientPenalty(weight=10.0))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_each_wrong_one_fails(wrong):
    assert not passes(wrong)


def test_a_root_at_a_zero_gradient_is_caught():
    """sqrt has an infinite slope at 0, so a penalty that writes the norm by hand ends in NaN; ours does not."""
    for penalty, finite in ((GradientPenalty(), True), (by_hand, False)):
        w = torch.zeros(1, 4, 4, requires_grad=True)
        critic = lambda images, labels, w=w: (images * w).flatten(1).sum(1)  # noqa: E731
        penalty(critic, torch.ones(6, 1, 4, 4), torch.ones(6, 1, 4, 4), Z).backward()
        assert bool(torch.isfinite(w.grad).all()) == finite


def by_hand(critic, real, fake, labels):
    return (gradient(critic, real).square().flatten(1).sum(1).sqrt() - 1).square().mean()


@pytest.mark.parametrize("factor", [2.0, 6.0], ids=["without the half", "summed over the batch"])
def test_r1_wrong_by_a_factor_fails(factor):
    critic = PerSample(3)
    real = torch.rand(6, 3, 4, 4)
    expected = 5.0 * (critic.slopes * critic.w.norm()).square().mean()
    value = R1(gamma=10.0)(critic, real, real, Z)
    torch.testing.assert_close(value, expected)
    assert not torch.allclose(factor * value, expected)
