import math

import pytest
import torch

from gan.metrics.modes import compute_mode_scores


def test_samples_like_the_reals_find_all_modes():
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert compute_mode_scores(torch.tensor([0, 0, 1, 2]), shares) == {"modes": 3, "high_quality": 1, "reverse_kl": 0}


@pytest.mark.parametrize(("found", "of"), [(1, 25), (5, 25), (25, 25), (3, 8), (700, 1000)])
def test_reverse_kl_of_samples_spread_over_some_of_equal_modes_is_the_log_of_their_ratio(found, of):
    scores = compute_mode_scores(torch.arange(found).repeat(4), torch.full((of,), 1 / of))
    assert scores["modes"] == found
    assert scores["reverse_kl"] == pytest.approx(math.log(of / found), abs=1e-12)


def test_reverse_kl_weighs_by_the_samples_not_by_the_reals():
    q, p = [0.75, 0.25], [0.4, 0.6]
    scores = compute_mode_scores(torch.tensor([0, 0, 0, 1]), torch.tensor(p))
    assert scores["reverse_kl"] == pytest.approx(sum(a * math.log(a / b) for a, b in zip(q, p, strict=True)), abs=1e-6)


def test_samples_of_low_quality_count_for_no_mode():
    scores = compute_mode_scores(torch.tensor([-1, 0, -1, 0, 1]), torch.full((4,), 0.25))
    expected = 2 / 3 * math.log(8 / 3) + 1 / 3 * math.log(4 / 3)
    assert (scores["modes"], scores["high_quality"]) == (2, 0.6)
    assert scores["reverse_kl"] == pytest.approx(expected, abs=1e-12)


def test_without_any_sample_of_high_quality_reverse_kl_is_the_largest_and_finite():
    shares = torch.tensor([0.1, 0.9])
    scores = compute_mode_scores(torch.tensor([-1, -1]), shares)
    rarest = compute_mode_scores(torch.tensor([0, 0]), shares)
    assert (scores["modes"], scores["high_quality"]) == (0, 0)
    assert scores["reverse_kl"] == pytest.approx(rarest["reverse_kl"]) == pytest.approx(math.log(10))


@pytest.mark.parametrize("modes", [[], [-2], [3]])
def test_indices_of_no_mode_are_refused(modes):
    with pytest.raises(ValueError, match="from -1 to 2"):
        compute_mode_scores(torch.tensor(modes, dtype=torch.long), torch.full((3,), 1 / 3))


def test_a_mode_without_reals_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        compute_mode_scores(torch.tensor([0]), torch.tensor([1.0, 0.0]))
