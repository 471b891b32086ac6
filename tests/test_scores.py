"""Every score against its closed form or its definition written out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image import KernelInceptionDistance

from gan.metrics.kid import compute_kid
from gan.metrics.manifold import compute_manifold_scores, compute_radii
from gan.metrics.memorization import estimate_copying, find_nearest
from gan.metrics.real_statistics import sum_by_label
from gan.metrics.scores import (
    ExtractorOutputs,
    PrecomputedFeatures,
    RealStatistics,
    compute_fid,
    compute_inception_score,
    compute_intra_fid,
    compute_scores,
    name_fid,
)

OF_LABELS = ("label_counts", "label_sums", "label_products")


def reference(features: Tensor, class_shares: Tensor | None = None) -> RealStatistics:
    features = features.double()
    shares = class_shares if class_shares is not None else torch.full((10,), 0.1)
    return RealStatistics(
        len(features), features.sum(0), features.T @ features, features, compute_radii(features), shares.double()
    )


def exact_gaussian(n: int, mean: Tensor, variance: Tensor) -> Tensor:
    """Features (n, d) whose sample mean and covariance are exactly the given ones."""
    x = torch.randn(n, len(mean), dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(n - 1)  # mean 0, covariance the identity
    return (x - x.mean(0)) * variance.sqrt() + mean


@pytest.mark.parametrize("d", [64, 256, 2048])
def test_fid_equals_the_closed_form_for_gaussians(d):
    """Of N(0, diag a) and N(m, diag b): |m|^2 + sum (sqrt a - sqrt b)^2."""
    a, b, m = (torch.rand(d, dtype=torch.float64) + 0.1 for _ in range(3))
    reals, fakes = exact_gaussian(2 * d, torch.zeros_like(m), a), exact_gaussian(2 * d, m, b)
    expected = m.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert compute_fid(fakes, reference(reals)) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("d", [8, 64, 256])
def test_fid_equals_the_definition_with_the_matrix_root_of_scipy(d):
    """Heusel et al. 2017, eq. 6, on correlated features."""
    mixing = torch.randn(d, d, dtype=torch.float64)
    a, b = torch.randn(3 * d, d).double() @ mixing, torch.rand(2 * d, d).double()
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum().item()
    expected = distance + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert compute_fid(b, reference(a)) == pytest.approx(expected, rel=1e-6)


def test_kid_equals_brute_force():
    """The unbiased squared discrepancy under (x.y / d + 1)^3 (Binkowski et al. 2018, eq. 4), by loops."""
    n, d = 40, 8
    reals, fakes = torch.randn(n, d).double(), torch.randn(n, d).double() + 0.5

    def k(x, y):
        return (float(x @ y) / d + 1) ** 3

    same = sum(k(x[i], x[j]) for x in (reals, fakes) for i in range(n) for j in range(n) if i != j)
    across = sum(k(x, y) for x in reals for y in fakes)
    assert compute_kid(fakes, reals) == pytest.approx(same / (n * (n - 1)) - 2 * across / n**2, rel=1e-9)


def test_kid_over_subsets_comes_near_the_whole_and_is_the_same_each_time():
    reals, fakes = torch.randn(3000, 4).double(), torch.randn(3000, 4).double() + 0.3
    first, again = (compute_kid(fakes, reals) for _ in range(2))
    assert first == again
    assert first == pytest.approx(compute_kid(fakes[:1500], reals[:1500]), rel=0.2)


@pytest.mark.parametrize(
    ("n_reals", "n_fakes", "d"),
    [
        (1500, 1200, 8),
        (1000, 1900, 3),  # each subset has all reals
        (1900, 1000, 3),
        (300, 700, 4),  # fewer images than a subset
        (13, 10, 1),
        (40, 30, 2048),
        (60, 60, 5),  # one subset, which is all
    ],
)
def test_kid_equals_that_of_torchmetrics_over_the_same_subsets(n_reals, n_fakes, d):
    reals, fakes = torch.randn(n_reals, d).double(), torch.randn(n_fakes, d).double() + 0.3
    metric = KernelInceptionDistance(
        PrecomputedFeatures(d), subsets=1 if n_reals == n_fakes else 100, subset_size=min(1000, n_reals, n_fakes)
    )
    metric.update(reals, real=True)
    metric.update(fakes, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = metric.compute()[0].item()
    assert compute_kid(fakes, reals) == pytest.approx(expected, rel=1e-9)


def test_kid_of_one_distribution_is_zero_on_average():
    distances = [compute_kid(torch.randn(100, 4).double(), torch.randn(100, 4).double()) for _ in range(50)]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / math.sqrt(50)


def test_inception_score_is_the_exponential_of_the_mean_divergence():
    """Certain, balanced classes give their number; a certain single class gives 1; a huge gap between logits no NaN."""
    certain = 200.0 * torch.nn.functional.one_hot(torch.arange(2000) % 10, 10).float()
    assert compute_inception_score(certain) == pytest.approx(10, rel=0.05)  # splits of 200 are not quite balanced
    assert compute_inception_score(certain[:1].expand(200, 10)) == pytest.approx(1)
    p = torch.tensor([0.7, 0.3])
    logits = p.log().expand(100, 2)
    assert compute_inception_score(logits) == pytest.approx(1)
    pairs = torch.stack([p, p.flip(0)]).log().repeat(5000, 1)
    expected = math.exp(0.7 * math.log(1.4) + 0.3 * math.log(0.6))
    assert compute_inception_score(pairs) == pytest.approx(expected, rel=1e-3)


def test_inception_score_equals_the_definition_on_each_split():
    logits = torch.randn(500, 10).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shuffled = logits[torch.randperm(500)]
    parts = [part.softmax(1) for part in shuffled.chunk(10)]
    divergences = [(p * (p / p.mean(0)).log()).sum(1).mean() for p in parts]
    assert compute_inception_score(logits) == pytest.approx(np.mean([math.exp(d) for d in divergences]), rel=1e-9)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_density_and_coverage_equal_their_definitions(k):
    reals, fakes = torch.randn(60, 3).double(), torch.randn(50, 3).double() * 0.7 + 0.5

    def radius(points, i):
        return sorted(float((points[i] - points[j]).norm()) for j in range(len(points)) if j != i)[k - 1]

    of_reals = [radius(reals, i) for i in range(60)]
    of_fakes = [radius(fakes, i) for i in range(50)]
    d = [[float((fake - real).norm()) for real in reals] for fake in fakes]
    expected = {
        "precision": np.mean([any(d[i][j] < of_reals[j] for j in range(60)) for i in range(50)]),
        "recall": np.mean([any(d[i][j] < of_fakes[i] for i in range(50)) for j in range(60)]),
        "density": sum(d[i][j] < of_reals[j] for i in range(50) for j in range(60)) / (k * 50),
        "coverage": np.mean([any(d[i][j] < of_reals[j] for i in range(50)) for j in range(60)]),
        "diversity": sorted(of_fakes)[24] / sorted(of_reals)[29],
    }
    assert torch.allclose(compute_radii(reals, k), torch.tensor(of_reals).double())
    assert compute_manifold_scores(reals, compute_radii(reals, k), fakes, k) == pytest.approx(expected)


def test_neighbours_are_the_same_when_the_distances_come_in_parts():
    reals, fakes = torch.randn(2300, 4).double(), torch.randn(1700, 4).double()
    distances = torch.cdist(fakes, reals)
    real_radii = torch.cdist(reals, reals).kthvalue(6).values
    measured = compute_manifold_scores(reals, compute_radii(reals), fakes)
    assert measured["precision"] == pytest.approx((distances < real_radii).any(1).double().mean().item())
    assert measured["coverage"] == pytest.approx((distances < real_radii).any(0).double().mean().item())


def sets_of_features() -> dict[str, tuple[Tensor, Tensor]]:
    """Return features of reals and fakes by name, among them sets whose images are at a radius or at one point."""
    x, y = torch.randn(1300, 4).double(), torch.randn(1100, 4).double() * 0.8 + 0.3
    return {
        "several tiles": (x, y),
        "one feature": (x[:, :1], y[:, :1]),
        "2048 features": (torch.rand(120, 2048).double(), torch.rand(90, 2048).double() * 1.02),
        "few images": (x[:10], y[:12]),
        "far from zero": (x[:300] + 1000, y[:300] + 1000),
        "ties": (torch.arange(100.0).double()[:, None], torch.arange(-20.5, 80, 0.5).double()[:, None]),
        "a grid with duplicates": (torch.randint(4, (600, 3)).double(), torch.randint(5, (700, 3)).double()),
        "all reals copied": (x[:600], x[:600]),
        "some reals copied over and over": (torch.cat([x[:500], x[:3].repeat(9, 1)]), x[:7].repeat(80, 1)),
        "copies of 2048 features": (torch.rand(1, 2048).double().repeat(40, 1), torch.rand(30, 2048).double()),
        "one image over and over": (x[:500], x[:1].repeat(600, 1)),
    }


@pytest.mark.parametrize("name", sets_of_features())
def test_scores_of_coverage_equal_those_of_exact_distances(name):
    """An image at the radius of a ball itself is outside."""

    def distances(x, y):
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")

    reals, fakes = sets_of_features()[name]
    of_reals, of_fakes = (distances(x, x).kthvalue(6).values for x in (reals, fakes))
    inside = distances(fakes, reals) < of_reals
    expected = {
        "precision": inside.any(1).double().mean().item(),
        "recall": (distances(fakes, reals) < of_fakes[:, None]).any(0).double().mean().item(),
        "density": inside.double().sum(1).mean().item() / 5,
        "coverage": inside.any(0).double().mean().item(),
    }
    assert torch.allclose(compute_radii(reals), of_reals, rtol=1e-9, atol=1e-5)
    measured = compute_manifold_scores(reals, compute_radii(reals), fakes)
    diversity = measured.pop("diversity")
    assert measured == pytest.approx(expected, rel=1e-9)
    if of_reals.median() > 0:
        assert diversity == pytest.approx((of_fakes.median() / of_reals.median()).item(), rel=1e-6, abs=1e-6)


def outputs(n: int = 100, d: int = 4, labels: Tensor | None = None) -> ExtractorOutputs:
    labels = torch.arange(n) % 10 if labels is None else labels
    return ExtractorOutputs(torch.randn(n, d), 9.0 * torch.nn.functional.one_hot(labels, 10).float(), labels)


def test_conditional_accuracy_counts_the_classes_asked_for():
    made = outputs()
    asked = torch.where(torch.arange(100) < 50, 9 - made.labels, made.labels)
    measured = compute_scores(
        ExtractorOutputs(made.features, made.logits, asked), reference(torch.randn(50, 4)), knows_classes=True
    )
    assert measured["conditional_accuracy"] == pytest.approx(0.5)


def test_class_distance_is_half_the_sum_of_differences_of_shares():
    reals = reference(torch.randn(50, 4), torch.tensor([0.2, 0.2, *[0.075] * 8]))
    measured = compute_scores(outputs(labels=torch.zeros(100, dtype=torch.long)), reals, knows_classes=True)
    assert measured["class_distance"] == pytest.approx(0.8)
    assert compute_scores(outputs(), reals, knows_classes=True)["class_distance"] == pytest.approx(0.2)


def test_an_extractor_without_classes_judges_none():
    measured = compute_scores(outputs(), reference(torch.randn(50, 4)), knows_classes=False)
    names = {"fid", "kid", "precision", "recall", "density", "coverage", "diversity", "inception_score"}
    assert set(measured) == names
    features_only = ExtractorOutputs(torch.randn(100, 4), None, torch.zeros(100))
    assert "inception_score" not in compute_scores(features_only, reference(torch.randn(50, 4)), knows_classes=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["features", "logits"])
def test_what_is_not_finite_is_an_error(part, value):
    made = outputs()
    getattr(made, part)[3, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        compute_scores(made, reference(torch.randn(50, 4)), knows_classes=True)


def test_one_image_over_and_over_is_scored_as_what_it_is():
    """No recall, an Inception Score of 1, every class but one missing; FID that of a point."""
    reals = reference(torch.randn(500, 4))
    constant = ExtractorOutputs(
        torch.zeros(100, 4), torch.zeros(100, 10).index_fill(1, torch.tensor([3]), 9.0), torch.zeros(100)
    )
    measured = compute_scores(constant, reals, knows_classes=True)
    covariance = torch.cov(reals.features.T)
    expected = reals.features.mean(0).square().sum() + covariance.trace()
    assert measured["fid"] == pytest.approx(expected.item(), rel=1e-6)
    assert measured["recall"] == measured["diversity"] == 0
    assert measured["inception_score"] == pytest.approx(1)
    assert measured["class_distance"] == pytest.approx(0.9)


def test_fewer_samples_than_features_still_give_the_distance_of_their_covariances():
    a, b = torch.randn(40, 64).double(), torch.randn(30, 64).double()
    means = (a.mean(0) - b.mean(0)).square().sum()
    singular = torch.linalg.svdvals(np_root(a) @ np_root(b)).sum()  # tr sqrt(A B) = the nuclear norm of sqrt A sqrt B
    expected = means + torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * singular
    assert compute_fid(b, reference(a)) == pytest.approx(expected.item(), rel=1e-4)


def np_root(x: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def by_class(features: Tensor, labels: Tensor, num_classes: int) -> RealStatistics:
    return replace(
        reference(features), **dict(zip(OF_LABELS, sum_by_label(features, labels, num_classes), strict=True))
    )


def test_intra_fid_is_the_mean_of_the_closed_forms_of_the_classes():
    """Of N(c, diag a) and N(c + m_c, diag b) in class c: the mean of |m_c|^2 + sum (sqrt a - sqrt b)^2."""
    d, n = 16, 100
    a, b = (torch.rand(d, dtype=torch.float64) + 0.1 for _ in range(2))
    shifts = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    reals = torch.cat([exact_gaussian(n, torch.full((d,), 10.0 * c), a) for c in range(3)])
    fakes = torch.cat([exact_gaussian(n, torch.full((d,), 10.0 * c + shifts[c]), b) for c in range(3)])
    labels = torch.arange(3).repeat_interleave(n)
    mixed = torch.randperm(3 * n)
    found = compute_intra_fid(fakes[mixed], labels[mixed], by_class(reals, labels, 3))
    expected = d * shifts.square().mean() + (a.sqrt() - b.sqrt()).square().sum()
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_intra_fid_leaves_out_a_class_without_a_covariance():
    reals, labels = torch.randn(90, 4).double(), torch.arange(90) % 3
    fakes, given = torch.randn(61, 4).double(), torch.cat([torch.arange(60) % 2, torch.tensor([2])])
    two = [compute_fid(fakes[given == label], reference(reals[labels == label])) for label in (0, 1)]
    assert compute_intra_fid(fakes, given, by_class(reals, labels, 3)) == pytest.approx(sum(two) / 2, rel=1e-9)


def test_scoring_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    made, reals = outputs(), reference(torch.randn(50, 4))
    state = torch.get_rng_state()
    assert compute_scores(made, reals, knows_classes=True) == compute_scores(made, reals, knows_classes=True)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("n", "name"), [(200, "fid_200"), (2000, "fid_2k"), (9999, "fid_9999"), (10_000, "fid"), (50_000, "fid")]
)
def test_a_fid_of_few_samples_has_their_number_in_its_name(n, name):
    assert name_fid(n) == name


def test_nearest_finds_what_loops_find():
    queries, bank = torch.randn(30, 5), torch.randn(40, 5)
    distances, indices = find_nearest(queries, bank)
    table = [[float((q - b).norm()) for b in bank.double()] for q in queries.double()]
    assert distances.tolist() == pytest.approx([min(row) for row in table])
    assert indices.tolist() == [row.index(min(row)) for row in table]


def test_a_copy_is_at_distance_zero_exactly():
    bank = torch.rand(300, 128)
    distances, indices = find_nearest(bank[50:250], bank)
    assert not distances.any()
    assert indices.tolist() == list(range(50, 250))


def test_copying_is_the_share_of_pairs_in_which_the_fake_is_nearer():
    fakes, held_out = torch.rand(30).double(), torch.rand(20).double()
    fakes[:5] = held_out[:5]
    wins = sum(1.0 if f < h else 0.5 if f == h else 0.0 for f in fakes.tolist() for h in held_out.tolist())
    assert estimate_copying(fakes, held_out) == pytest.approx(wins / 600)
    assert estimate_copying(held_out, held_out) == pytest.approx(0.5)
    assert estimate_copying(torch.zeros(10).double(), held_out) == 1
