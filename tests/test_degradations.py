"""Real MNIST made worse step by step: the scores must say so, and two classifiers must agree on which is worse."""

import os

import pytest
import torch
from scipy.stats import spearmanr
from torchvision.datasets import MNIST
from torchvision.transforms.v2.functional import gaussian_blur

from gan.data.datasets import Torchvision
from gan.data.pixels import to_float
from gan.metrics.extractors.classifier import Classifier
from gan.metrics.extractors.fitting import fit_classifier, measure_accuracy
from gan.metrics.scorer import Scorer
from gan.metrics.scores import compute_fid

pytestmark = pytest.mark.skipif("DATA_DIR" not in os.environ, reason="needs MNIST under DATA_DIR")


def blurred(images, labels, strength):
    return gaussian_blur(images, [7, 7], [strength] * 2), labels


def noisy(images, labels, strength):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * strength * noise).clamp(0, 255).round().to(torch.uint8), labels


def modes_dropped(images, labels, missing):
    """The digits below `missing` are replaced by others, so that there are as many images."""
    kept = (labels >= missing).nonzero().flatten()
    chosen = kept[torch.arange(len(images)) % len(kept)]
    return images[chosen], labels[chosen]


def labels_shuffled(images, labels, share):
    wrong = torch.arange(len(labels)) < share * len(labels)
    return images, torch.where(wrong, (labels + 1) % 10, labels)


def shifted(images, labels, pixels):
    return images.roll(pixels, dims=3), labels


STEPS = {
    blurred: (0.4, 0.6, 0.8, 1.1, 1.5, 2.0),
    noisy: (0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    modes_dropped: (1, 2, 3, 5, 7, 9),
    shifted: (1, 2, 3, 4, 5),
}


@pytest.fixture(autouse=True)
def _quick_kid(monkeypatch):
    """Ranks need no 100 subsets."""
    monkeypatch.setattr("gan.metrics.kid.SUBSETS", 10)


@pytest.fixture(scope="module")
def mnist():
    made = Torchvision(dataset=MNIST, root=os.environ["DATA_DIR"], channels=1, image_size=28, batch_size=64)
    made.setup()
    return made


@pytest.fixture(scope="module")
def sample(mnist):
    chosen = torch.arange(0, 60_000, 20)
    return mnist.splits["train"].images[chosen], mnist.splits["train"].labels[chosen]


@pytest.fixture(scope="module")
def shipped(mnist):
    return Scorer(Classifier(weights_path="mnist"), mnist, n_fakes=2000)


@pytest.fixture(scope="module")
def independent(mnist):
    """A scorer by a classifier trained here, from other weights and another part of the digits."""
    extractor = Classifier(weights_path="mnist")
    train = mnist.splits["train"]
    extractor.network = fit_classifier(train.images[30_000:], train.labels[30_000:], epochs=2, seed=7)
    extractor.sha256 = "independent"
    assert measure_accuracy(extractor.network, mnist.splits["test"]) > 0.98
    return Scorer(extractor, mnist, n_fakes=2000)


def measured(scorer, images, labels):
    scorer.measure_reals()
    scorer.reset()
    scorer.update(to_float(images), labels)
    return scorer.compute()


def fid(scorer, images):
    scorer.measure_reals()
    return compute_fid(
        torch.cat([scorer.extractor(part)[0] for part in images.split(500)]).double(), scorer.real_statistics
    )


@pytest.mark.parametrize("degrade", [blurred, noisy, modes_dropped])
def test_the_distances_rise_with_each_step(shipped, sample, degrade):
    scores = [measured(shipped, *sample), *(measured(shipped, *degrade(*sample, step)) for step in STEPS[degrade])]
    for name in ("fid_2k", "kid"):
        values = [score[name] for score in scores]
        assert values == sorted(values)
        assert values[-1] > 10 * values[0]


def test_dropped_modes_are_missed_by_recall_coverage_and_class_distance_but_not_by_precision(shipped, sample):
    whole, half = measured(shipped, *sample), measured(shipped, *modes_dropped(*sample, 5))
    assert half["recall"] < whole["recall"] - 0.3
    assert half["coverage"] < whole["coverage"] - 0.3
    assert half["class_distance"] > 0.4 > 10 * whole["class_distance"]
    assert half["precision"] == pytest.approx(whole["precision"], abs=0.05)


def test_noise_costs_precision(shipped, sample):
    assert measured(shipped, *noisy(*sample, 0.5))["precision"] < measured(shipped, *sample)["precision"] - 0.3


def test_conditional_accuracy_falls_by_as_many_labels_as_are_wrong_and_fid_does_not_see_them(shipped, sample):
    right = measured(shipped, *sample)
    for share in (0.1, 0.3, 0.6):
        scores = measured(shipped, *labels_shuffled(*sample, share))
        assert scores["conditional_accuracy"] == pytest.approx((1 - share) * right["conditional_accuracy"], abs=0.01)
        assert scores["fid_2k"] == right["fid_2k"]


def test_two_independent_classifiers_rank_degraded_images_alike(shipped, independent, sample):
    sets = [degrade(*sample, step) for degrade, steps in STEPS.items() for step in steps]
    assert len(sets) >= 20
    pixels = [images for images, _ in sets]
    fids = [[fid(scorer, images) for images in pixels] for scorer in (shipped, independent)]
    assert spearmanr(*fids).statistic >= 0.95
