"""Scores from features: FID and Inception Score by torchmetrics, and those of kid.py and manifold.py."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, InceptionScore

from gan.metrics.kid import compute_kid
from gan.metrics.manifold import compute_manifold_scores


@dataclass(frozen=True)
class ExtractorOutputs:
    """An extractor's outputs for N images: features (N, d), logits (N, c) or None, and the labels (N,) of the images.

    The labels of fakes are those that the generator was given.
    """

    features: Tensor
    logits: Tensor | None
    labels: Tensor


@dataclass(frozen=True)
class RealStatistics:
    """Statistics of the features of `n` real images, which scores compare with.

    `feature_sum` (d,) and `feature_products` (d, d), the sum of outer products, are of all images in float64.
    `features` (M, d) are those of at most 10,000 images, evenly chosen, with their `radii` (M,). `class_shares` (c,)
    are the shares of the classes that the extractor predicts. For the FID inside each of k classes, `label_counts` (k,)
    are the numbers of images by label, and `label_sums` (k, d) and `label_products` (k, d, d) their sums.
    """

    n: int
    feature_sum: Tensor
    feature_products: Tensor
    features: Tensor
    radii: Tensor
    class_shares: Tensor
    label_counts: Tensor | None = None
    label_sums: Tensor | None = None
    label_products: Tensor | None = None


def concatenate_outputs(batches: list[ExtractorOutputs]) -> ExtractorOutputs:
    """Return batches as one, in their order."""
    features, logits, labels = zip(*((b.features, b.logits, b.labels) for b in batches), strict=True)
    return ExtractorOutputs(torch.cat(features), None if logits[0] is None else torch.cat(logits), torch.cat(labels))


def select_outputs(outputs: ExtractorOutputs, chosen: Tensor) -> ExtractorOutputs:
    """Return the outputs of the chosen images, by indices (n,)."""
    logits = None if outputs.logits is None else outputs.logits[chosen]
    return ExtractorOutputs(outputs.features[chosen], logits, outputs.labels[chosen])


class PrecomputedFeatures(nn.Identity):
    """A feature extractor for torchmetrics that returns its input: features that are already extracted."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def compute_scores(fakes: ExtractorOutputs, reals: RealStatistics, *, knows_classes: bool) -> dict[str, float]:
    """Return all scores of fakes against reals, by name; the global random state is not changed.

    fid (Heusel et al. 2017, eq. 6; 0 is best), intra_fid (if there are statistics of each class, see
    `compute_intra_fid`; 0 is best), kid (Binkowski et al. 2018, section 4, mean over subsets; 0 is best and
    values may be below), inception_score (Salimans et al. 2016, section 4, mean over 10 splits; 1 to c; needs logits),
    precision, recall, density, coverage and diversity (see `compute_manifold_scores`). If the extractor knows the
    classes: conditional_accuracy, the share of fakes whose predicted class is their label, and class_distance, half the
    sum of absolute differences between the class shares of fakes and reals, both in [0, 1].
    Raises ValueError for features or logits that are not finite.
    """
    features = fakes.features.double()
    if not all(bool(torch.isfinite(part).all()) for part in (features, fakes.logits) if part is not None):
        raise ValueError("the extractor's features of the samples are not finite, so they can't be scored")
    real_features = reals.features.double()
    measured = {"fid": compute_fid(features, reals)}
    if reals.label_counts is not None:
        measured["intra_fid"] = compute_intra_fid(features, fakes.labels, reals)
    measured["kid"] = compute_kid(features, real_features)
    measured |= compute_manifold_scores(real_features, reals.radii, features)
    if fakes.logits is not None:
        measured["inception_score"] = compute_inception_score(fakes.logits)
    if knows_classes:
        predicted = fakes.logits.argmax(1)
        shares = compute_class_shares(fakes.logits)
        measured["conditional_accuracy"] = (predicted == fakes.labels).double().mean().item()
        measured["class_distance"] = (shares - reals.class_shares).abs().sum().item() / 2
    return measured


def compute_fid(features: Tensor, reals: RealStatistics) -> float:
    """Return the Frechet distance of features (N, d) float64 to those of the reals."""
    return compute_distance(features, torch.tensor(reals.n), reals.feature_sum, reals.feature_products)


def compute_intra_fid(features: Tensor, labels: Tensor, reals: RealStatistics) -> float:
    """Return the mean over classes of the Frechet distance of a class's fakes to its reals.

    `features` (N, d) are float64, `labels` (N,) what the generator was given. A class with fewer than two fakes, which
    have no covariance, is left out of the mean. It is intra FID (Miyato & Koyama 2018, section 5.1); where a class has
    few images, it is biased high.
    """
    of_reals = zip(reals.label_counts, reals.label_sums, reals.label_products, strict=True)
    distances = [
        compute_distance(features[labels == label], *statistics)
        for label, statistics in enumerate(of_reals)
        if (labels == label).count_nonzero() > 1
    ]
    return torch.tensor(distances, dtype=torch.float64).mean().item()


def compute_distance(features: Tensor, n: Tensor, feature_sum: Tensor, feature_products: Tensor) -> float:
    """Return the Frechet distance of features (N, d) float64 to n reals, given by their sum and sum of products."""
    fid = build_metric(FrechetInceptionDistance, features)
    fid.real_features_num_samples, fid.real_features_sum, fid.real_features_cov_sum = n, feature_sum, feature_products
    fid.update(features, real=False)
    return fid.compute().item()


def compute_inception_score(logits: Tensor) -> float:
    """Return the Inception Score of logits (N, c), the mean over 10 splits of a fixed seed."""
    score = build_metric(InceptionScore, logits, splits=min(10, len(logits)))
    score.update(logits.double())  # in float32 a rare class's probability underflows to NaN
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return score.compute()[0].item()


def build_metric(kind: type, features: Tensor, **options):
    """Return a torchmetrics metric over given features (N, d) that does not synchronize with other processes."""
    return kind(PrecomputedFeatures(features.shape[1]), sync_on_compute=False, **options)


def compute_class_shares(logits: Tensor) -> Tensor:
    """Return the share (c,) of each class among the predictions of logits (N, c)."""
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double() / len(logits)


def name_fid(n_fakes: int) -> str:
    """Return the name of a FID of so many samples: "fid" from 10,000 on, else with their number, as "fid_2k"."""
    if n_fakes >= 10_000:
        return "fid"
    return f"fid_{n_fakes // 1000}k" if n_fakes % 1000 == 0 else f"fid_{n_fakes}"
