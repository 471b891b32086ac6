"""Regularizers of logits against closed forms: of a linear critic, of a critic of the mean pixel, and of constants."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gan.augment import ADA, Augment, DiffAugment, Shift
from gan.errors import InputError
from gan.penalties import R1, R2
from gan.regularizers import ApproximateR1, ApproximateR2, BalancedConsistency, Consistency, LeCam


class Linear(nn.Module):
    """The critic D(x) = <w, x>."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape) * 0.1)

    def forward(self, images, labels):
        return (images * self.w).flatten(1).sum(1)


def batch(n, shape=(1, 4, 4)):
    return torch.rand(n, *shape) * 2 - 1, torch.rand(n, *shape) * 2 - 1, torch.zeros(n, dtype=torch.long)


def add(value):
    """Return a transform that adds a value to each pixel."""

    class Add(Augment):
        def forward(self, images):
            return images + value

    return Add()


@pytest.mark.parametrize(("kind", "exact"), [(ApproximateR1, R1), (ApproximateR2, R2)])
@pytest.mark.parametrize(("weight", "sigma"), [(100.0, 0.01), (3.0, 0.5)])
def test_approximations_of_a_linear_critic_are_r1_and_r2_with_gamma_2_weight_sigma_squared(kind, exact, weight, sigma):
    """E (w . sigma e)^2 = sigma^2 |w|^2, whose mean over n draws has a relative deviation of sqrt(2 / n)."""
    critic, inputs = Linear(1, 4, 4).double(), [part.double() for part in batch(200_000)[:2]]
    labels = torch.zeros(200_000, dtype=torch.long)
    approximate = kind(weight=weight, sigma=sigma)(critic, *inputs, labels)
    gamma = 2 * weight * sigma**2
    expected = exact(gamma=gamma)(critic, *inputs, labels)
    assert expected.item() == pytest.approx(gamma / 2 * critic.w.square().sum().item())
    assert approximate.item() == pytest.approx(expected.item(), rel=0.02)
    (gradient,) = torch.autograd.grad(approximate, critic.w)
    torch.testing.assert_close(gradient, gamma * critic.w.detach(), rtol=0.05, atol=0.02 * gamma * 0.1)


@pytest.mark.parametrize(("kind", "place"), [(ApproximateR1, 0), (ApproximateR2, 1)])
def test_the_approximation_is_taken_at_the_reals_or_at_the_fakes(kind, place):
    seen = []

    def discriminate(images, labels):
        seen.append(images)
        return images.flatten(1).sum(1)

    inputs = batch(50)
    kind(sigma=0.01)(discriminate, *inputs)
    (judged,) = seen  # spectral norm changes the weights between two forward passes
    clean, noisy = judged.chunk(2)
    assert torch.equal(clean, inputs[place])
    noise = noisy - inputs[place]
    assert noise.std().item() == pytest.approx(0.01, rel=0.1)
    assert len(noise.unique()) > 0.98 * noise.numel()  # drawn per sample and pixel


def test_steps_of_the_power_iteration_are_not_taken_for_a_slope():
    """D is a linear layer under spectral norm, which has not converged: each forward pass changes its weights."""
    critic = spectral_norm(nn.Linear(16, 16, bias=False).double(), n_power_iterations=1)

    def discriminate(images, labels):
        return critic(images.flatten(1)).sum(1)

    real, fake, labels = batch(8)
    without_noise = ApproximateR1(weight=1.0, sigma=1e-12)(discriminate, real.double(), fake.double(), labels)
    assert without_noise.item() < 1e-20


def test_the_approximation_computes_in_float32_under_autocast():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    seen = []

    def discriminate(images, labels):
        seen.append(critic(images))
        return seen[-1].squeeze(1)

    with torch.autocast("cpu", torch.bfloat16):
        ApproximateR1()(discriminate, *batch(4))
    assert {logits.dtype for logits in seen} == {torch.float32}


@pytest.mark.parametrize("shift", [0.25, -1.0])
def test_consistency_of_a_linear_critic_is_the_squared_logit_of_the_change(shift):
    critic, inputs = Linear(1, 4, 4), batch(6)
    change = (shift * critic.w.sum()).square()
    consistency = Consistency(weight=10.0, transform=add(shift))(critic, *inputs)
    torch.testing.assert_close(consistency, 10 * change)
    balanced = BalancedConsistency(real_weight=3.0, fake_weight=5.0, transform=add(shift))(critic, *inputs)
    torch.testing.assert_close(balanced, 8 * change)
    (gradient,) = torch.autograd.grad(consistency, critic.w)
    torch.testing.assert_close(gradient, (20 * shift**2 * critic.w.sum()).expand(1, 4, 4).detach())


def test_consistency_looks_at_reals_and_balanced_consistency_at_fakes_too():
    """D(x) is the square of the mean pixel: its change by a shift tells which images were shifted."""
    real, fake, labels = torch.full((5, 1, 2, 2), 2.0), torch.full((5, 1, 2, 2), -5.0), torch.zeros(5, dtype=torch.long)

    def discriminate(images, labels):
        return images.mean((1, 2, 3)).square()

    of_reals, of_fakes = (3.0**2 - 2.0**2) ** 2, (4.0**2 - 5.0**2) ** 2
    assert Consistency(weight=1.0, transform=add(1.0))(discriminate, real, fake, labels) == of_reals
    both = BalancedConsistency(real_weight=1.0, fake_weight=10.0, transform=add(1.0))
    assert both(discriminate, real, fake, labels) == of_reals + 10 * of_fakes


@pytest.mark.parametrize("kind", [Consistency, BalancedConsistency])
def test_a_transform_that_adapts_is_refused(kind):
    kind(transform=DiffAugment(policy="translation"))
    with pytest.raises(InputError, match=r"consistency\.transform: ADA adapts"):
        kind(transform=ADA())


def logits_of_images(images, labels):
    return images.mean((1, 2, 3))


def constants(real, fake):
    return torch.full((4, 1, 2, 2), real), torch.full((4, 1, 2, 2), fake), torch.zeros(4, dtype=torch.long)


def test_lecam_by_hand_over_three_updates():
    """D(x) = a and D(G(z)) = b give (a - anchor of fakes)^2 + (b - anchor of reals)^2, anchors with this update."""
    lecam = LeCam(weight=0.5, decay=0.9)
    anchor_real = anchor_fake = None
    for real, fake in ((1.0, -1.0), (2.0, 0.5), (-1.0, 3.0)):
        anchor_real = real if anchor_real is None else 0.9 * anchor_real + 0.1 * real
        anchor_fake = fake if anchor_fake is None else 0.9 * anchor_fake + 0.1 * fake
        expected = 0.5 * ((real - anchor_fake) ** 2 + (fake - anchor_real) ** 2)
        assert lecam(logits_of_images, *constants(real, fake)).item() == pytest.approx(expected, rel=1e-5)
    assert lecam.anchors.tolist() == pytest.approx([anchor_real, anchor_fake])


def test_lecam_is_the_mean_over_samples_and_its_anchors_carry_no_gradient():
    bias = torch.zeros((), requires_grad=True)
    inputs = batch(8)
    lecam = LeCam(weight=1.0)
    penalty = lecam(lambda images, labels: logits_of_images(images, labels) + bias, *inputs)
    real, fake = (logits_of_images(images, None) for images in inputs[:2])
    expected = (real - fake.mean()).square().mean() + (fake - real.mean()).square().mean()
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, bias)
    torch.testing.assert_close(gradient, 2 * (real.mean() - fake.mean()) + 2 * (fake.mean() - real.mean()))
    assert not lecam.anchors.requires_grad


def test_lecams_state_restores_its_next_values():
    lecam = LeCam(decay=0.5)
    lecam(logits_of_images, *constants(1.0, -1.0))
    other = LeCam(decay=0.5)
    other.load_state_dict(copy.deepcopy(lecam.state_dict()))
    values = [each(logits_of_images, *constants(3.0, 0.0)) for each in (lecam, other)]
    assert torch.equal(*values)


def test_with_lecam_a_wasserstein_critic_has_a_minimum():
    """-(r - f) + w ((r - f)^2 + (f - r)^2), with the anchors at the logits, is least at r - f = 1 / (4 w)."""
    gap = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([gap], lr=0.1)
    lecam = LeCam(weight=0.5, decay=0.0)
    for _ in range(300):
        optimizer.zero_grad()

        def discriminate(images, labels):
            return images.mean((1, 2, 3)) * gap / 2

        (lecam(discriminate, *constants(1.0, -1.0)) - gap).backward()
        optimizer.step()
    # anchors are constants of an update: the slope is w (2 gap / 2 + 2 gap / 2) = 2 w gap against 1
    assert gap.item() == pytest.approx(1 / (2 * 0.5), rel=1e-3)


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [
        (ApproximateR1, "approx_r1", "weight"),
        (ApproximateR1, "approx_r1", "sigma"),
        (ApproximateR2, "approx_r2", "weight"),
        (Consistency, "consistency", "weight"),
        (BalancedConsistency, "balanced_consistency", "real_weight"),
        (BalancedConsistency, "balanced_consistency", "fake_weight"),
        (LeCam, "lecam", "weight"),
    ],
)
def test_strengths_and_intervals_have_ranges(kind, name, option, value):
    with pytest.raises(InputError, match=rf"penalty\.{name}\.{option}=.*above 0"):
        kind(**{option: value})
    with pytest.raises(InputError, match=rf"penalty\.{name}\.interval=.*whole number"):
        kind(interval=1.5)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_lecams_decay_has_a_range(decay):
    with pytest.raises(InputError, match=r"penalty\.lecam\.decay=.*at least 0 and below 1"):
        LeCam(decay=decay)


def test_shift_moves_whole_pixels_and_repeats_the_edge():
    images = torch.arange(36.0).view(1, 1, 6, 6).expand(200, 1, 6, 6)
    shifted = Shift(pixels=2)(images)
    down = (shifted[:, 0, 2, 2] // 6 - 2).long()
    right = (shifted[:, 0, 2, 2] % 6 - 2).long()
    assert {*down.tolist()} == {*right.tolist()} == {-2, -1, 0, 1, 2}
    for i in range(200):
        rows, columns = ((torch.arange(6) + moved).clamp(0, 5) for moved in (down[i], right[i]))
        assert torch.equal(shifted[i, 0], images[i, 0][torch.meshgrid(rows, columns, indexing="ij")])


def test_shift_mirrors_half_of_the_images_if_told_to():
    images = torch.arange(6.0).expand(400, 1, 6, 6)
    rising = Shift(pixels=1, mirror=True)(images)[:, 0, 0].diff()[:, 2] > 0
    assert 0.4 < rising.float().mean().item() < 0.6
    assert (Shift(pixels=1)(images)[:, 0, 0].diff()[:, 2] > 0).all()
    with pytest.raises(InputError, match="pixels=0"):
        Shift(pixels=0)
    with pytest.raises(InputError, match="pixels=6: must be smaller than the images, which have 6 x 6"):
        Shift(pixels=6)(images)
