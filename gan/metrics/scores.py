"""From features to figures: FID, KID and Inception Score are torchmetrics'."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, InceptionScore, KernelInceptionDistance

from gan.metrics.manifold import compute_manifold_scores

SUBSETS, SUBSET_SIZE = 100, 1000  # Binkowski et al. 2018, section 4


@dataclass(frozen=True)
class ExtractorOutputs:
    """What an extractor says of N images: features (N, d), logits (N, c) where it has any, and the images' labels (N,).

    `labels` are those that the images were made for, or come with.
    """

    features: Tensor
    logits: Tensor | None
    labels: Tensor


@dataclass(frozen=True)
class RealStatistics:
    """What scores need to know of the real images' features.

    `n` images, the sum (d,) and the sum of outer products (d, d) of all their features in float64, an even selection of
    them (M, d) with their `radii` (M,), and the share (c,) of each class that the extractor sees.
    """

    n: int
    feature_sum: Tensor
    feature_products: Tensor
    features: Tensor
    radii: Tensor
    class_shares: Tensor


def concatenate_outputs(batches: list[ExtractorOutputs]) -> ExtractorOutputs:
    """Return batches as one."""
    features, logits, labels = zip(*((b.features, b.logits, b.labels) for b in batches), strict=True)
    return ExtractorOutputs(torch.cat(features), None if logits[0] is None else torch.cat(logits), torch.cat(labels))


def select_outputs(outputs: ExtractorOutputs, chosen: Tensor) -> ExtractorOutputs:
    """Return the chosen ones of N images, by their numbers (n,)."""
    logits = None if outputs.logits is None else outputs.logits[chosen]
    return ExtractorOutputs(outputs.features[chosen], logits, outputs.labels[chosen])


class PrecomputedFeatures(nn.Identity):
    """Hands features that are already extracted to a torchmetrics metric."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def compute_scores(fakes: ExtractorOutputs, reals: RealStatistics, *, knows_classes: bool) -> dict[str, float]:
    """Return every score of the fakes against the reals; the global generator is left as it was.

    fid (Heusel et al. 2017, eq. 6), kid (Binkowski et al. 2018, mean over subsets), inception_score (Salimans et al.
    2016, mean over 10 splits; needs logits), precision, recall, density, coverage and, where the extractor knows the
    classes, conditional_accuracy and class_distance: half the sum of the differences between the class shares of fakes
    and reals, 0 to 1. Raises ValueError for features or logits that are not finite.
    """
    features = fakes.features.double()
    if not all(bool(torch.isfinite(part).all()) for part in (features, fakes.logits) if part is not None):
        raise ValueError("the extractor's features are not finite: nothing can be scored")
    measured = {"fid": compute_fid(features, reals), "kid": compute_kid(features, reals)}
    measured |= compute_manifold_scores(reals.features.double(), reals.radii, features)
    if fakes.logits is not None:
        measured["inception_score"] = compute_inception_score(fakes.logits)
    if knows_classes:
        predicted = fakes.logits.argmax(1)
        shares = compute_class_shares(fakes.logits)
        measured["conditional_accuracy"] = (predicted == fakes.labels).double().mean().item()
        measured["class_distance"] = (shares - reals.class_shares).abs().sum().item() / 2
    return measured


def compute_fid(features: Tensor, reals: RealStatistics) -> float:
    """Return the Frechet distance of features (N, d) float64 to the reals'."""
    fid = build_metric(FrechetInceptionDistance, features)
    fid.real_features_sum, fid.real_features_cov_sum = reals.feature_sum, reals.feature_products
    fid.real_features_num_samples = torch.tensor(reals.n)
    fid.update(features, real=False)
    return fid.compute().item()


def compute_kid(features: Tensor, reals: RealStatistics) -> float:
    """Return the kernel distance of features (N, d) to the reals', over subsets drawn by a fixed seed."""
    size = min(SUBSET_SIZE, len(features), len(reals.features))
    subsets = 1 if size == len(features) == len(reals.features) else SUBSETS
    kid = build_metric(KernelInceptionDistance, features, subsets=subsets, subset_size=size)
    kid.update(reals.features.to(features), real=True)
    kid.update(features, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kid.compute()[0].item()


def compute_inception_score(logits: Tensor) -> float:
    """Return the mean Inception Score of 10 splits, drawn by a fixed seed."""
    score = build_metric(InceptionScore, logits, splits=min(10, len(logits)))
    score.update(logits.double())  # in float32 a rare class's probability underflows to NaN
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return score.compute()[0].item()


def build_metric(kind: type, features: Tensor, **options):
    """Return a torchmetrics metric over given features, which never looks for other processes."""
    return kind(PrecomputedFeatures(features.shape[1]), sync_on_compute=False, **options)


def compute_class_shares(logits: Tensor) -> Tensor:
    """Return the share (c,) of each class among the classes predicted by logits (N, c)."""
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double() / len(logits)


def name_fid(n_fakes: int) -> str:
    """Return what a FID of so few samples is named after: "_2k" below 10,000, else nothing."""
    if n_fakes >= 10_000:
        return ""
    return f"_{n_fakes // 1000}k" if n_fakes % 1000 == 0 else f"_{n_fakes}"
