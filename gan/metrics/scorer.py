"""Scores of a generator, with their protocol and with the floor that real images reach."""

import logging
import sys
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from gan.data.datamodule import ImageData, Images
from gan.data.pixels import to_uint8
from gan.distributed import gather_objects, get_rank
from gan.errors import InputError
from gan.metrics.extractors.extractor import Extractor
from gan.metrics.kid import SUBSET_SIZE, SUBSETS
from gan.metrics.manifold import NEIGHBORS
from gan.metrics.real_statistics import (
    LAYOUT,
    choose_evenly,
    compute_statistics,
    extract_outputs,
    load_statistics,
    save_statistics,
)
from gan.metrics.scores import (
    ExtractorOutputs,
    RealStatistics,
    compute_scores,
    concatenate_outputs,
    name_fid,
    select_outputs,
)
from gan.system.files import digest
from gan.system.reuse import Last

FEWEST_IMAGES = 10  # that can be scored
MOST_SUBSETS, ENOUGH_FAKES = 4, 1000  # most subsets of fakes to score like the floor, and fakes that are enough
COPIES, NEARLY_ALIKE = 0.005, 0.25  # shares of the diversity of real images below which fakes count as such
CLEAR_GAIN = 0.1  # of the way from chance to certainty: the least accuracy of an extractor that knows the classes
MOST_FEATURES_BY_CLASS = 256  # of an extractor, for FID inside classes: more features take too long for each class
VERSION = 1  # of the scores' definitions, part of every protocol

log = logging.getLogger(__name__)
MEASURED = Last()  # statistics and floor of the last run of this process without a cache


class Scorer:
    """Scores fakes against the real images of one split, the `reference` ("train" or "test").

    `objectives` are the scores that a run may minimize. `floor` has the scores of `n_floor` images of the other split,
    as many as there are fakes (all, if fewer): what that many fakes of a perfect generator would reach. `protocol` says
    how scores are measured, with `n_fakes`, the `z_seed` and whether the `generator` is the "ema" or the "raw" one;
    only scores of equal protocols may be compared. Without `conditional` there are no conditional accuracy and no FID
    inside classes. The latter also needs an extractor of at most 256 features, and at least 10 images of each class
    among the reals, the fakes and the floor's images. Statistics of the reals are cached in `cache_dir`.
    Under torch.distributed each process updates with its own batches, and all of them get the scores of all fakes.
    Raises InputError for an unknown reference and for fewer than 10 fakes or reals.
    """

    def __init__(
        self,
        extractor: Extractor,
        data: ImageData,
        *,
        n_fakes: int,
        z_seed: int = 0,
        generator: str = "ema",
        reference: str = "test",
        conditional: bool = True,
        cache_dir: str | None = None,
    ) -> None:
        if reference not in data.splits:
            raise InputError(f"metrics.reference={reference}: must be one of {', '.join(data.splits)}")
        self.reals, self.others = data.splits[reference], data.splits["train" if reference == "test" else "test"]
        if n_fakes < FEWEST_IMAGES:
            raise InputError(f"metrics.n_fakes={n_fakes}: must be at least {FEWEST_IMAGES}")
        for split, images in data.splits.items():
            if len(images) < FEWEST_IMAGES:
                raise InputError(
                    f"metrics: the {split} split has {len(images)} images, scores need at least {FEWEST_IMAGES}; add "
                    "some (without a test folder every tenth image of a class is held out), or metrics=none"
                )
        self.extractor, self.conditional, self.num_classes = extractor, conditional, data.shape["num_classes"]
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else None
        self.fid_name = name_fid(n_fakes)
        self.intra_fid_name = f"intra_{self.fid_name}"
        self.objectives: tuple[str, ...] = (self.fid_name, "kid")
        self.n_floor = min(len(self.others), n_fakes)
        samples = (self.reals, len(self.reals)), (self.others, self.n_floor), (data.splits["train"], n_fakes)
        is_enough = min(count_rarest(*sample, self.num_classes) for sample in samples) >= FEWEST_IMAGES
        self.compares_classes = is_enough and extractor.num_features <= MOST_FEATURES_BY_CLASS
        self.floor: dict[str, float] = {}
        self.batches: list[ExtractorOutputs] = []
        self.protocol: dict[str, Any] = {
            "version": VERSION,
            "extractor": extractor.name,
            "extractor_sha256": extractor.sha256,
            "resize": extractor.resize,
            "n_fakes": n_fakes,
            "n_reals": len(self.reals),
            "reference": reference,
            "reals_sha256": self.reals.fingerprint(),
            "kid": f"{SUBSETS} subsets of {min(SUBSET_SIZE, n_fakes, len(self.reals))}",
            "neighbours": NEIGHBORS,  # spelled so in saved protocols, whose ids it enters
            "generator": generator,
            "z_seed": z_seed,
        }
        for what, n in {"n_fakes": n_fakes, "reference": len(self.reals)}.items():
            if n <= extractor.num_features:
                log.warning(
                    "metrics.%s: %d images are too few for a covariance of %d features: %s is biased high, use kid",
                    *(what, n, extractor.num_features, self.fid_name),
                )

    def list_scores(self) -> list[str]:
        """Return the names of all scores of a generator, before any is measured."""
        with torch.inference_mode():
            _, logits = self.extractor(self.reals.__getitems__([0])[0])
        names = [self.fid_name, "kid", "precision", "recall", "density", "coverage", "diversity"]
        names += [self.intra_fid_name] if self.compares_classes and self.conditional else []
        names += [] if logits is None else ["inception_score"]
        if self.extractor.knows_classes:
            names += ["conditional_accuracy", "class_distance"] if self.conditional else ["class_distance"]
        return names

    def measure_reals(self, device: torch.device | str = "cpu") -> None:
        """Load the statistics of the reals and the floor from the cache, or compute them on a device and cache them."""
        if self.floor or get_rank():
            return
        of_fakes = ("generator", "z_seed")
        key = {name: value for name, value in self.protocol.items() if name not in of_fakes}
        key |= {"others_sha256": self.others.fingerprint(), "device": torch.device(device).type, "layout": LAYOUT}
        key["compares_classes"] = self.compares_classes
        self.real_statistics, floor = self.load_or_compute(digest(key), device)
        if self.num_classes and self.extractor.knows_classes:
            self.require_known_classes(floor["conditional_accuracy"])
        self.floor = self.drop_inapplicable(floor)

    def load_or_compute(self, key: str, device: torch.device | str) -> tuple[RealStatistics, dict[str, float]]:
        """Return the statistics of the reals and the floor from the cache or, if it has none, computed."""
        if not self.cache_dir:
            return MEASURED.get(key, lambda: self.compute_reals(device))
        path = self.cache_dir / f"{key}.safetensors"
        found = load_statistics(path)
        if not found:
            found = self.compute_reals(device)
            save_statistics(path, *found)
        return found

    def compute_reals(self, device: torch.device | str) -> tuple[RealStatistics, dict[str, float]]:
        """Return the statistics of the reals and the floor."""
        num_classes = self.num_classes if self.compares_classes else 0
        self.real_statistics = compute_statistics(self.extractor, self.reals, device, num_classes=num_classes)
        chosen = choose_evenly(len(self.others), self.n_floor)
        outputs = extract_outputs(self.extractor, self.others, chosen, device)
        return self.real_statistics, self.score_outputs(concatenate_outputs(list(outputs)))

    def require_known_classes(self, accuracy: float) -> None:
        """Raise InputError for an extractor that knows other classes than those of the images, by its accuracy."""
        known = len(self.real_statistics.class_shares)
        chance = 1 / self.num_classes
        if known == self.num_classes and accuracy > chance + CLEAR_GAIN * (1 - chance):
            return
        problem = f"finds the class of {accuracy:.0%} of the real images"
        if known != self.num_classes:
            problem = f"knows {known} classes, the images have {self.num_classes}"
        raise InputError(
            f"metrics: {self.extractor.name} {problem}: it was trained on other images; use metrics=own, "
            "metrics=inception or metrics=none"
        )

    @torch.no_grad()
    def score(
        self, generator: nn.Module, samples: Iterable[tuple[Tensor, Tensor]], device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """Return the scores of a generator by name, as `compute` does.

        `samples` are batches of z (N, z_dim) and labels (N,); the generator is moved to `device` and left in eval mode.
        Raises ValueError for images outside [-1, 1], or not finite.
        """
        self.measure_reals(device)
        self.reset()
        generator = generator.to(device).eval()
        for z, labels in track(samples, "scoring", transient=True, disable=bool(get_rank()) or not sys.stdout.isatty()):
            self.update(generator(z.to(device), labels.to(device)), labels)
        return self.compute()

    def reset(self) -> None:
        """Drop the fakes; statistics of the reals stay."""
        self.batches = []

    def update(self, fakes: Tensor, labels: Tensor) -> None:
        """Add fakes (N, C, H, W) in [-1, 1], and the labels (N,) that the generator was given for them.

        Raises ValueError for images outside [-1, 1], or not finite.
        """
        features, logits = self.extractor(to_uint8(fakes))
        self.batches.append(ExtractorOutputs(features.cpu(), None if logits is None else logits.cpu(), labels.cpu()))

    def compute(self) -> dict[str, float]:
        """Return the scores of the fakes of all processes by name, see `gan.metrics.scores.compute_scores`.

        FID has the number of fakes in its name below 10,000 (`fid_name`).
        """
        batches = self.gather_batches()
        return gather_objects(None if get_rank() else self.compute_scores(concatenate_outputs(batches)))[0]

    def compute_at_floor(self) -> dict[str, float]:
        """Return the scores of `n_floor` of the fakes, the mean over some subsets; {} if these are all fakes.

        FID, recall, coverage, ... depend on the number of images: only these scores compare with the floor.
        """
        batches, n_fakes = self.gather_batches(), self.protocol["n_fakes"]
        if self.n_floor == n_fakes or sum(len(batch.labels) for batch in batches) != n_fakes:
            return {}
        return gather_objects(None if get_rank() else self.score_subsets(concatenate_outputs(batches)))[0]

    def score_subsets(self, fakes: ExtractorOutputs) -> dict[str, float]:
        """Return the mean scores of disjoint subsets of `n_floor` fakes, drawn with a fixed seed."""
        n_subsets = min(MOST_SUBSETS, len(fakes.labels) // self.n_floor, max(1, ENOUGH_FAKES // self.n_floor))
        order = torch.randperm(len(fakes.labels), generator=torch.Generator().manual_seed(0))
        subsets = order.split(self.n_floor)[:n_subsets]
        scores = [self.compute_scores(select_outputs(fakes, chosen)) for chosen in subsets]
        return {name: sum(values[name] for values in scores) / n_subsets for name in scores[0]}

    def find_collapse(self, scores: dict[str, float], before: dict[str, float]) -> str | None:
        """Return why the fakes with these scores are collapsed, None if they are not.

        They are if they are copies, or nearly alike and not more varied than at the evaluation `before` ({}: none): at
        the start of training samples are nearly alike, too.
        """
        fakes, reals = scores["diversity"], self.floor["diversity"]
        is_growing = fakes > before.get("diversity", 0)
        if fakes >= (COPIES if is_growing else NEARLY_ALIKE) * reals:
            return None
        return f"diversity {fakes:.2g}, real images {reals:.2g}"

    def describe(self) -> dict[str, Any]:
        """Return what is reported beside the scores: the floor, scores of as many fakes, their number, the protocol."""
        return {
            "floor": self.floor,
            "n_floor": self.n_floor,
            "at_n_floor": self.compute_at_floor(),
            "protocol": self.protocol,
        }

    def gather_batches(self) -> list[ExtractorOutputs]:
        """Return the batches of all processes, in the order in which a single process would have had them."""
        return [batch for turn in zip_longest(*gather_objects(self.batches)) for batch in turn if batch is not None]

    def compute_scores(self, outputs: ExtractorOutputs) -> dict[str, float]:
        """Return the scores of an extractor's outputs that apply to the generator, by name."""
        return self.drop_inapplicable(self.score_outputs(outputs))

    def score_outputs(self, outputs: ExtractorOutputs) -> dict[str, float]:
        """Return all scores of an extractor's outputs, by name."""
        measured = compute_scores(outputs, self.real_statistics, knows_classes=self.extractor.knows_classes)
        names = {"fid": self.fid_name, "intra_fid": self.intra_fid_name}
        return {names.get(name, name): value for name, value in measured.items()}

    def drop_inapplicable(self, measured: dict[str, float]) -> dict[str, float]:
        """Return scores without those of classes, conditional accuracy and intra FID, if G is unconditional."""
        of_classes = () if self.conditional else ("conditional_accuracy", self.intra_fid_name)
        return {name: value for name, value in measured.items() if name not in of_classes}


def count_rarest(images: Images, n: int, num_classes: int) -> int:
    """Return how many of n images with the class shares of `images` are of the rarest class; 0 without classes."""
    counts = images.labels.bincount(minlength=num_classes)
    return int(counts.min() * n / len(images)) if num_classes else 0
