"""Scores of Stacked MNIST: the modes of real stacks are known, and those of few digits are few."""

import math

import pytest
import torch

import train
from gan.data.datasets import MNIST5k
from gan.data.pixels import to_float
from gan.data.stacked import StackedMNIST
from gan.errors import InputError
from gan.metrics.extractors.stacked_digits import StackedDigits
from gan.metrics.stacked_scorer import StackedScorer
from tests.helpers import NARROW


@pytest.fixture(scope="module")
def stacked():
    data = StackedMNIST(image_size=28, batch_size=64)
    data.setup()
    return data


@pytest.fixture(scope="module")
def scorer(stacked):
    scorer = StackedScorer(StackedDigits(stacked, weights_path="mnist"), stacked, n_fakes=1000)
    scorer.measure_reals()
    return scorer


def test_the_classifier_finds_the_digits_of_real_stacks(stacked, scorer):
    images, modes = stacked.splits["test"].__getitems__(list(range(500)))
    for found in (scorer.extractor(images), scorer.extractor(to_float(images))):
        assert (found == modes).float().mean() > 0.97
    assert scorer.extractor.mode_shares.tolist() == pytest.approx([0.001] * 1000)


def test_floats_out_of_range_are_an_error(scorer):
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
        scorer.update(torch.full((2, 3, 28, 28), math.nan), torch.zeros(2))


def test_real_stacks_have_the_scores_of_a_uniform_draw(scorer):
    """Of n draws from 1,000 modes, 1 - exp(-n / 1,000) of the modes are found."""
    assert scorer.floor["modes"] == pytest.approx(1000 * (1 - math.exp(-1)), rel=0.1)
    assert set(scorer.floor) == {"modes", "reverse_kl"} == set(scorer.list_scores())
    images, labels = scorer.reals.__getitems__(list(range(1000)))
    scorer.reset()
    scorer.update(to_float(images), labels)
    assert scorer.compute()["reverse_kl"] == pytest.approx(scorer.floor["reverse_kl"], rel=0.2)
    assert scorer.find_collapse(scorer.compute(), {}) is None


def test_stacks_of_two_digits_are_eight_modes_with_the_reverse_kl_of_these(scorer, stacked):
    """All eight modes equally often: log(1,000 / 8)."""
    labels = stacked.splits["test"].labels
    modes = [a + b + c for a in (0, 100) for b in (0, 10) for c in (0, 1)]
    candidates = [int(i) for mode in modes for i in (labels == mode).nonzero()[:5, 0]]
    images, given = scorer.reals.__getitems__(candidates)
    found = scorer.extractor(images)  # some digits are misread
    chosen = [int((found == mode).nonzero()[0, 0]) for mode in modes]
    scorer.reset()
    scorer.update(to_float(images[chosen].repeat(125, 1, 1, 1)), given[chosen].repeat(125))
    scores = scorer.compute()
    assert (scores["modes"], scores["reverse_kl"]) == (8, pytest.approx(math.log(125)))
    assert scorer.find_collapse(scores, {}) is None  # a first evaluation, early in training
    assert scorer.find_collapse(scores, {"modes": 5}) is None
    assert scorer.find_collapse(scores, {"modes": 8}) == "8 of 1,000 modes"


def test_other_images_have_no_stacks():
    with pytest.raises(InputError, match=r"^metrics=stacked_modes: .* use data=stacked_mnist"):
        StackedDigits(MNIST5k(channels=1, image_size=28, batch_size=64), weights_path="mnist")


def test_a_run_is_unconditional_and_returns_its_reverse_kl(configure, tmp_path):
    words = ["data=stacked_mnist", "metrics=stacked_modes", "metrics.n_fakes=500", "penalty=r1", *NARROW["dcgan"]]
    reverse_kl = train.train(configure(*words, "objective=reverse_kl"))
    assert 0 < reverse_kl < math.log(1000) + 1e-6
