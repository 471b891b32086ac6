"""One pass of features over the fakes feeds every score; FID and Inception Score are torchmetrics'."""

import hashlib
import math
import sys
from collections.abc import Iterator
from typing import Any

import torch
from rich.progress import track
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

    def __init__(self, extractor: Any, data: ImageData, *, reference: str = "test", conditional: bool = True) -> None:
        if reference not in data.splits:
            raise InputError(f"metrics.reference={reference}: must be one of {', '.join(data.splits)}")
        if data.n_fakes < 2:
            raise InputError(f"metrics.n_fakes={data.n_fakes}: must be at least 2")
        self.extractor, self.judges_labels = extractor, conditional and extractor.knows_classes
        self.fid = FrechetInceptionDistance(Features(extractor.num_features), reset_real_features=False)
        self.inception_score = InceptionScore(Features(extractor.num_features), splits=min(10, data.n_fakes))
        self.hits: list[Tensor] = []
        short = f"{data.n_fakes // 1000}k" if data.n_fakes % 1000 == 0 else str(data.n_fakes)
        self.fid_name = "fid" if data.n_fakes >= 10_000 else f"fid_{short}"
        self.reals, self.others = data.splits[reference], data.splits["train" if reference == "test" else "test"]
        self.n_floor = min(len(self.others), data.n_fakes)
        self.floor = math.nan
        self.protocol: dict[str, Any] = {
            "extractor": extractor.name,
            "extractor_sha256": extractor.sha256,
            "resize": extractor.resize,
            "n_fakes": data.n_fakes,
            "n_reals": len(self.reals),
            "reference": reference,
            "generator": "ema",
            "z_seed": data.z_seed,
        }

    def measure_reals(self, device: torch.device | str = "cpu") -> None:
        """Extract the real images' features, which the scores and the floor need, on a device; once."""
        if "reals_sha256" in self.protocol:
            return
        fingerprint = hashlib.sha256()
        for images in batches(self.reals, len(self.reals)):
            fingerprint.update(images.contiguous().numpy().tobytes())
            self.fid.update(self.extractor(images.to(device))[0].cpu(), real=True)
        for images in batches(self.others, self.n_floor):
            self.fid.update(self.extractor(images.to(device))[0].cpu(), real=False)
        self.floor = self.fid.compute().item()
        self.protocol["reals_sha256"] = fingerprint.hexdigest()

    def reset(self) -> None:
        """Forget the fakes; the reals stay."""
        self.fid.reset()
        self.inception_score.reset()
        self.hits = []

    def update(self, fakes: Tensor, labels: Tensor) -> None:
        """Take in fakes (N, C, H, W) in [-1, 1] and the labels (N,) they were made for."""
        features, logits = (output.cpu() for output in self.extractor(to_uint8(fakes)))
        self.fid.update(features, real=False)
        self.inception_score.update(logits.double())  # in float32 a rare class's probability underflows to NaN
        self.hits.append(logits.argmax(1) == labels.cpu())

    def compute(self) -> dict[str, float]:
        """Return fid, fid_floor, inception_score and, where the extractor knows the labels, conditional_accuracy."""
        with torch.random.fork_rng():  # torchmetrics shuffles by the global generator
            torch.manual_seed(0)
            inception_score = self.inception_score.compute()[0].item()
        scores = {
            self.fid_name: self.fid.compute().item(),
            f"{self.fid_name}_floor": self.floor,
            "inception_score": inception_score,
        }
        if self.judges_labels:
            scores["conditional_accuracy"] = torch.cat(self.hits).float().mean().item()
        return scores


def batches(images: Images, n: int) -> Iterator[Tensor]:
    """Yield n images, spread evenly over the set so that every class is there, as uint8 batches."""
    chosen = torch.linspace(0, len(images) - 1, n).round().long()
    for indices in track(
        chosen.split(BATCH), "features of real images", transient=True, disable=not sys.stdout.isatty()
    ):
        yield images.__getitems__(indices.tolist())[0]
