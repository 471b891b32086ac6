"""Augmentations: each by its definition, per sample, differentiable, on one channel and on three."""

import pytest
import torch

import gan.augment as augment_module
from gan.augment import ADA, Augment, DiffAugment, Fixed, cut_out, jitter_color, translate
from gan.errors import InputError


def strong() -> ADA:
    ada = ADA()
    ada.p.fill_(1.0)
    return ada


EACH = pytest.mark.parametrize("make", [DiffAugment, strong], ids=["diffaugment", "ada"])
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def seeded(augment, images):
    torch.manual_seed(7)
    return augment(images)


@EACH
@CHANNELS
def test_shape_and_fresh_draws(make, channels):
    augment, images = make(), torch.rand(8, channels, 28, 28) * 2 - 1
    first, second = augment(images), augment(images)
    assert first.shape == images.shape
    assert not torch.equal(first, second)


def test_adapting_leaves_no_graph():
    """A graph in p would grow by each step's."""
    ada = ADA()
    ada.adapt(torch.ones(8, requires_grad=True) * 2)
    assert ada.p > 0
    assert not ada.p.requires_grad


@EACH
@CHANNELS
def test_each_sample_by_itself_and_by_draws_of_its_own(make, channels):
    """Images that swap places swap augmented ones where the draws do too: nothing else of the batch enters."""
    augment, image = make(), torch.rand(1, channels, 16, 16) * 2 - 1
    same = seeded(augment, image.expand(8, -1, -1, -1))
    assert len({sample.sum().item() for sample in same}) == 8  # eight draws
    others = torch.rand(8, channels, 16, 16) * 2 - 1
    for place in range(8):
        batch = others.clone()
        batch[place] = image
        torch.testing.assert_close(seeded(augment, batch)[place], same[place])


@EACH
@CHANNELS
def test_commutes_with_the_order_of_the_batch(make, channels, monkeypatch):
    """With the draws permuted like the images, the outputs are permuted: draws are (..., N) or (N, ...)."""
    augment, images, order = make(), torch.rand(8, channels, 16, 16), torch.randperm(8)
    expected = seeded(augment, images)[order]
    for name in ("rand", "randn", "randint"):
        draw = getattr(torch, name)

        def permuted(*args, draw=draw, **kwargs):
            values = draw(*args, **kwargs)
            return values.index_select(values.shape.index(8), order)

        monkeypatch.setattr(augment_module.torch, name, permuted)
    torch.testing.assert_close(seeded(augment, images[order]), expected)


@EACH
@CHANNELS
def test_gradcheck(make, channels, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # gradcheck needs double precision
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        augment, images = make().double(), torch.rand(2, channels, 8, 8, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: seeded(augment, x), (images,))
    finally:
        torch.set_default_dtype(previous)


def test_brightness_saturation_and_contrast_by_their_definition():
    torch.manual_seed(1)
    images = torch.rand(5, 3, 4, 4) * 2 - 1
    torch.manual_seed(2)
    actual = jitter_color(images)
    torch.manual_seed(2)
    b, s, c = torch.rand(3, 5, 1, 1, 1)
    x = images + b - 0.5
    x = (x - x.mean(1, keepdim=True)) * (2 * s) + x.mean(1, keepdim=True)
    mean = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(actual, (x - mean) * (c + 0.5) + mean)


def test_saturation_leaves_one_channel_alone():
    """Brightness and contrast keep each image's order of pixels, and an affine map is all they are."""
    images = torch.rand(6, 1, 5, 5)
    augmented = jitter_color(images)
    for before, after in zip(images.flatten(1), augmented.flatten(1), strict=True):
        slope = (after[1] - after[0]) / (before[1] - before[0])
        assert 0.5 <= slope <= 1.5
        torch.testing.assert_close(after, after[0] + slope * (before - before[0]), rtol=1e-3, atol=1e-4)


def test_translation_moves_by_up_to_an_eighth_and_fills_with_zero():
    images = torch.rand(500, 2, 16, 16) + 1  # no zeros of their own
    moved, seen = translate(images), set()
    for image, result in zip(images, moved, strict=True):
        padded = torch.zeros(2, 20, 20)
        padded[:, 2:18, 2:18] = image
        found = [
            (dy, dx) for dy in range(5) for dx in range(5) if torch.equal(result, padded[:, dy : dy + 16, dx : dx + 16])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 25  # every shift of -2..2 both ways


def test_cutout_blanks_a_square_of_half_the_size_around_any_pixel():
    blank = cut_out(torch.ones(2000, 1, 8, 8)) == 0
    rows, columns = blank.any(3).sum(2), blank.any(2).sum(2)
    assert rows.max() == columns.max() == 4
    assert rows.min() == columns.min() == 2  # half of the square hangs over the edge at most
    assert torch.equal(blank.sum((1, 2, 3)), (rows * columns).flatten())
    assert blank.float().mean(0)[0, 0, 0].item() == pytest.approx((3 / 9) ** 2, abs=0.03)


def test_ada_at_zero_is_the_identity():
    for channels in (1, 3):
        images = torch.rand(4, channels, 16, 16) * 2 - 1
        torch.testing.assert_close(ADA()(images), images, rtol=1e-4, atol=1e-4)


@CHANNELS
def test_fixed_is_ada_with_a_probability_that_stays(channels):
    images, ada = torch.rand(64, channels, 16, 16) * 2 - 1, ADA()
    for p in (0.0, 0.3, 1.0):
        fixed = Fixed(p=p)
        fixed.adapt(torch.ones(64))
        ada.p.fill_(p)
        assert torch.equal(seeded(fixed, images), seeded(ada, images))
        assert fixed.state_dict() == {}


def test_adas_p_follows_the_sign_of_the_logits():
    ada = ADA(target=0.6, ramp_images=1000)
    ada.adapt(torch.ones(100))
    assert ada.p.item() == pytest.approx(0.1)
    ada.adapt(torch.tensor([5.0] * 79 + [-0.1] * 21))  # r_t = 0.58: below the target
    assert ada.p.item() == pytest.approx(0.0)
    ada.adapt(-torch.ones(100))
    assert ada.p.item() == 0  # never below 0
    for _ in range(20):
        ada.adapt(torch.ones(100))
    assert ada.p.item() == 1  # nor above 1
    assert ada.state_dict()["p"] == 1


def test_ada_transforms_a_share_p_of_the_samples():
    ada = ADA()
    ada.p.fill_(0.3)
    drawn = ada.draw_sometimes(torch.randn, torch.zeros(20_000, 1, 1, 1))
    assert (drawn != 0).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_none_changes_nothing():
    images = torch.rand(2, 1, 4, 4)
    assert Augment()(images) is images
    assert DiffAugment(policy="")(images) is images


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffAugment(policy="color,blur"), r"augment\.policy=color,blur: 'blur' must be one of color, tr"),
        (lambda: Fixed(p=1.5), r"augment\.p=1\.5: must be a probability, from 0 to 1"),
        (lambda: Fixed(p=-0.1), r"augment\.p=-0\.1: must be a probability, from 0 to 1"),
        (lambda: ADA(target=1.0), r"augment\.target=1\.0: must be between"),
        (lambda: ADA(ramp_images=0), r"augment\.ramp_images=0: must be 1 or more"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
