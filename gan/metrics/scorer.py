"""One pass of features over the fakes feeds every score; FID and Inception Score are torchmetrics'."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, InceptionScore

from gan.data import ImageData, Images
from gan.errors import InputError
from gan.images import to_uint8

BATCH = 500


class Features(nn.Identity):
    """Hands features that are already extracted to a torchmetrics metric."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


class Scorer:
    """Scores fakes against the real images of one split.

    `extractor` maps uint8 images to (features, logits). The floor is the FID of as many images of the other split as
    there are fakes (all, if fewer): what a perfect generator could reach. `protocol` says what the scores mean; only
    scores of equal protocols may be compared.
    """

    def __init__(self, extractor: Any, data: ImageData, *, reference: str = "test") -> None:
        if reference not in data.splits:
            raise InputError(f"metrics.reference={reference}: must be one of {', '.join(data.splits)}")
        if data.n_fakes < 2:
            raise InputError(f"metrics.n_fakes={data.n_fakes}: must be at least 2")
        self.extractor = extractor
        self.fid = FrechetInceptionDistance(Features(extractor.num_features), reset_real_features=False)
        self.inception_score = InceptionScore(Features(extractor.num_features), splits=min(10, data.n_fakes))
        self.hits: list[Tensor] = []
        self.fid_name = "fid" if data.n_fakes >= 10_000 else f"fid_{data.n_fakes}"
        reals, others = data.splits[reference], data.splits["train" if reference == "test" else "test"]
        fingerprint = hashlib.sha256()
        for images in batches(reals, len(reals)):
            fingerprint.update(images.contiguous().numpy().tobytes())
            self.fid.update(self.extractor(images)[0], real=True)
        self.floor = self.measure_floor(others, min(len(others), data.n_fakes))
        self.protocol = {
            "extractor": extractor.name,
            "extractor_sha256": extractor.sha256,
            "resize": extractor.resize,
            "n_fakes": data.n_fakes,
            "n_reals": len(reals),
            "reference": reference,
            "generator": "ema",
            "z_seed": data.z_seed,
            "reals_sha256": fingerprint.hexdigest(),
        }

    def measure_floor(self, images: Images, n: int) -> float:
        for chunk in batches(images, n):
            self.fid.update(self.extractor(chunk)[0], real=False)
        floor = self.fid.compute().item()
        self.reset()
        return floor

    def reset(self) -> None:
        """Forget the fakes; the reals stay."""
        self.fid.reset()
        self.inception_score.reset()
        self.hits = []

    def update(self, fakes: Tensor, labels: Tensor) -> None:
        """Take in fakes (N, C, H, W) in [-1, 1] and the labels (N,) they were made for."""
        features, logits = self.extractor(to_uint8(fakes))
        self.fid.to(features.device).update(features, real=False)
        self.inception_score.update(logits.double())  # in float32 a rare class's probability underflows to NaN
        self.hits.append(logits.argmax(1) == labels)

    def compute(self) -> dict[str, float]:
        """Return fid, fid_floor, inception_score and, if the extractor knows the classes, conditional_accuracy."""
        with torch.random.fork_rng():  # torchmetrics shuffles by the global generator
            torch.manual_seed(0)
            inception_score = self.inception_score.compute()[0].item()
        scores = {
            self.fid_name: self.fid.compute().item(),
            f"{self.fid_name}_floor": self.floor,
            "inception_score": inception_score,
        }
        if self.extractor.knows_classes:
            scores["conditional_accuracy"] = torch.cat(self.hits).float().mean().item()
        return scores


def batches(images: Images, n: int) -> Iterator[Tensor]:
    """Yield n images, spread evenly over the set so that every class is there, as uint8 batches."""
    chosen = torch.linspace(0, len(images) - 1, n).round().long()
    for indices in chosen.split(BATCH):
        yield images.__getitems__(indices.tolist())[0]
