"""Aggregates and intervals against closed forms, against rliable, and by how often they hold the true value."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from gan.report.aggregates import compute_best_of_k, compute_improvement, compute_iqm, compute_profile
from gan.report.intervals import (
    compute_improvement_interval,
    compute_interval,
    compute_iqm_interval,
    compute_share_interval,
)
from gan.report.power import compute_power, find_sample_size
from scripts.benchmarks import coverage

EXACT = {"rel": 1e-12, "abs": 1e-12}


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    assert compute_iqm([9.0, 1.0, 2.0, 3.0, 100.0]) == pytest.approx(14 / 3, **EXACT)
    assert compute_iqm([1.0, 2.0, 4.0, 100.0]) == pytest.approx(3, **EXACT)
    assert compute_iqm([1.0, 2.0, 6.0]) == pytest.approx(3, **EXACT)  # nothing to cut: the mean
    assert math.isnan(compute_iqm([]))


def test_the_probability_of_improvement_counts_pairs_with_ties_by_half():
    assert compute_improvement([([1, 2, 3], [2, 4])])[0] == pytest.approx((2 + 1.5 + 1) / 6, **EXACT)
    first, second = np.random.default_rng(0).normal(size=(2, 7))
    u = stats.mannwhitneyu(second, first).statistic  # pairs in which the second is above
    assert compute_improvement([(first, second)])[0] == pytest.approx(u / 49, **EXACT)
    assert compute_improvement([([math.inf, 1.0], [math.inf, 0.0])])[0] == pytest.approx((0.5 + 1) / 4, **EXACT)


def test_the_probability_of_improvement_over_data_sets_is_their_mean():
    pairs = [([1.0, 2.0], [3.0, 4.0]), ([1.0, 3.0], [2.0, 4.0])]
    mean, (low, high) = compute_improvement(pairs)
    assert mean == pytest.approx((1 + 0.75) / 2, **EXACT)
    bounds = [compute_improvement([pair])[1] for pair in pairs]
    below = math.hypot(1 - bounds[0][0], 0.75 - bounds[1][0]) / 2
    assert (low, high) == pytest.approx((mean - below, mean + (bounds[1][1] - 0.75) / 2), **EXACT)


@pytest.mark.parametrize(("n_first", "n_second"), [(5, 5), (3, 8), (20, 20)])
def test_the_interval_of_a_probability_ends_where_it_is_z_standard_errors_away(n_first, n_second):
    z, middle = stats.norm.ppf(0.975), (n_first + n_second) / 2
    for probability in (0.0, 0.04, 0.5, 0.9, 1.0):
        low, high = compute_improvement_interval(probability, n_first, n_second)
        assert 0 <= low <= probability <= high <= 1
        assert high - low > 0.1  # also where one sample is below all of the other
        for end in {low, high} - {0.0, 1.0}:
            spread = 1 + (middle - 1) * ((1 - end) / (2 - end) + end / (1 + end))  # Newcombe 2006, method 5
            error = math.sqrt(end * (1 - end) * spread / (n_first * n_second))
            assert abs(end - probability) == pytest.approx(z * error, rel=1e-9)
        mirrored = compute_improvement_interval(1 - probability, n_second, n_first)
        assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-9)


def test_a_profile_is_the_share_of_runs_at_or_below_each_multiple_with_wilsons_interval():
    profile = compute_profile([1.0, 2.0, 2.0, math.inf], [0.5, 1.0, 2.0, 50.0])
    assert profile.shares == pytest.approx([0, 0.25, 0.75, 0.75], **EXACT)
    z2 = stats.norm.ppf(0.975) ** 2
    center, half = (3 + z2 / 2) / (4 + z2), math.sqrt(z2 * (3 * 1 / 4 + z2 / 4)) / (4 + z2)
    assert (profile.low[2], profile.high[2]) == pytest.approx((center - half, center + half), **EXACT)
    assert compute_share_interval(0, 5)[1] > 0.4


@pytest.mark.parametrize("values", [[4.0], [4.0, 1.0], [3.0, 1.0, 1.0, 7.0, 5.0, 9.0]])
def test_the_best_of_k_is_the_mean_over_all_subsets(values):
    expected = [
        np.mean([min(subset) for subset in itertools.combinations(values, k)]) for k in range(1, len(values) + 1)
    ]
    assert compute_best_of_k(values) == pytest.approx(expected, **EXACT)


def test_the_best_of_k_of_equally_spaced_values_is_that_of_the_formula():
    """The mean minimum of k of 1, ..., n is (n + 1) / (k + 1)."""
    for n in (10, 300):
        k = np.arange(1, n + 1)
        assert compute_best_of_k([*range(1, n + 1)]) == pytest.approx((n + 1) / (k + 1), **EXACT)


def test_the_best_of_k_is_infinite_as_long_as_all_k_may_have_diverged():
    best = compute_best_of_k([math.inf, 2.0, math.inf, 1.0])
    assert list(np.isfinite(best)) == [False, False, True, True]
    assert best[2:] == pytest.approx([5 / 4, 1], **EXACT)  # one of four subsets of three holds no 1


def test_the_power_of_equal_spreads_is_that_of_a_mixture_of_normals():
    """Over the chi-squared distribution of the pooled variance, without the noncentral t."""
    n, difference, deviation = 5, 1.7, 0.9
    degrees, shift = 2 * (n - 1), difference / (deviation * math.sqrt(2 / n))
    limit = stats.t.ppf(0.975, degrees)

    def integrand(ratio):
        scale = limit * math.sqrt(ratio / degrees)
        return (stats.norm.sf(scale - shift) + stats.norm.cdf(-scale - shift)) * stats.chi2.pdf(ratio, degrees)

    expected = integrate.quad(integrand, 0, 200, epsabs=1e-13, epsrel=1e-13, limit=500)[0]
    assert compute_power(n, difference, (deviation, deviation)) == pytest.approx(expected, rel=1e-8)


def test_the_sample_size_is_the_first_with_80_percent_power():
    assert find_sample_size(1.0, (1.0, 1.0)) == 17  # Cohen 1988, table 2.4.1: d = 1, 5% two-sided, power 0.8
    n = find_sample_size(2.0, (1.0, 2.5))
    assert compute_power(n - 1, 2.0, (1.0, 2.5)) < 0.8 <= compute_power(n, 2.0, (1.0, 2.5))
    assert find_sample_size(0.0, (1.0, 1.0)) is None
    assert find_sample_size(1.0, (0.0, 0.0)) == 2


def test_the_bootstrap_t_is_seeded_and_wider_where_values_are_skewed():
    sample = [4.0, 5.0, 7.0, 8.0]
    assert compute_interval(sample, "bootstrap") == compute_interval(sample, "bootstrap")
    low, high = compute_interval([1.0, 1.1, 1.2, 1.4, 3.0], "bootstrap")
    mean = 7.7 / 5
    assert low < 1.2 < mean < high
    assert high - mean > mean - low
    shifted = compute_interval([value + 10 for value in sample], "bootstrap")
    assert shifted == pytest.approx([end + 10 for end in compute_interval(sample, "bootstrap")])
    assert all(map(math.isnan, compute_interval([1.0, 2.0, 3.0], "bootstrap")))
    assert compute_interval([2.0] * 5, "bootstrap") == (2.0, 2.0)


def test_the_interval_of_five_values_interquartile_mean_is_their_range():
    """It misses the center of any law if all five values are on one side of it: 2 of 32 times."""
    assert compute_iqm_interval([[3.0, 1.0, 2.0, 9.0, 4.0]]) == (1.0, 9.0)
    assert all(map(math.isnan, compute_iqm_interval([[1.0, 2.0, 3.0, 4.0]])))


def test_resamples_of_several_data_sets_keep_the_seeds_of_each():
    """The far apart values of two data sets add no width: a plain bootstrap would mix them in other shares."""
    low, high = compute_iqm_interval([[1.0, 1.1, 1.2], [9.0, 9.1, 9.2]])
    assert 4 < low < 5.1 < high < 6


@pytest.mark.parametrize("law", coverage.LAWS)
def test_intervals_of_five_seeds_hold_the_true_value(law):
    """400 times; scripts/benchmark.py coverage repeats it 2,000 times."""
    for name in ("mean, bootstrap-t", "IQM, expanded percentiles"):
        assert coverage.count_coverage(name, law, 400) == pytest.approx(0.95, abs=0.03), name
    for shift in coverage.SHIFTS:
        assert coverage.count_improvement_coverage(law, shift, 400) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("law", coverage.LAWS)
def test_equal_cells_are_called_different_in_five_percent_of_grids_at_most(law):
    assert coverage.count_false_differences(law, 2000) <= 0.05


@pytest.mark.slow
def test_points_equal_those_of_rliable():
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    scores = np.random.default_rng(0).lognormal(size=(2, 7, 3))  # algorithm, run, task
    first, second = scores
    assert compute_iqm(first.ravel()) == pytest.approx(metrics.aggregate_iqm(first), **EXACT)
    improvement, _ = compute_improvement([*zip(first.T, second.T, strict=True)])
    assert improvement == pytest.approx(metrics.probability_of_improvement(second, first), **EXACT)  # higher is better
    taus = np.linspace(0.1, 3, 30)
    above = [library.run_score_deviation(first, tau) for tau in taus]
    assert 1 - compute_profile(first.ravel(), taus).shares == pytest.approx(np.array(above), **EXACT)
