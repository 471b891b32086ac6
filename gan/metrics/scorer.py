"""Scores of a generator, each with its protocol and with the floor that real images reach."""

import logging
import sys
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from gan.data.datamodule import ImageData
from gan.data.pixels import to_uint8
from gan.distributed import gather_objects, get_rank
from gan.errors import InputError
from gan.metrics.manifold import NEIGHBORS
from gan.metrics.real_statistics import (
    choose_evenly,
    compute_statistics,
    extract_outputs,
    load_statistics,
    save_statistics,
)
from gan.metrics.scores import (
    SUBSET_SIZE,
    SUBSETS,
    ExtractorOutputs,
    compute_scores,
    concatenate_outputs,
    name_fid,
    select_outputs,
)
from gan.system.files import digest

FEWEST = 10  # images or samples that can be scored
MOST_PARTS, ENOUGH = 4, 1000  # parts of the fakes that are scored like the floor, and how many fakes are enough for it
CLEAR_GAIN = 0.1  # of the way from chance to certainty, which an extractor that knows the classes passes at least
VERSION = 1  # of what the scores mean; part of every protocol

log = logging.getLogger(__name__)


class Scorer:
    """Scores fakes against the real images of one split.

    `extractor` maps uint8 images to (features, logits or None). `floor` holds the scores of `n_floor` images of the
    other split, as many as there are fakes (all, if fewer): what that many fakes of a perfect generator would reach.
    `protocol` says what the scores mean, among it `n_fakes`, the `z_seed` and whether it is the "ema" or "raw"
    `generator`; only scores of equal protocols may be compared. Statistics of the reals are
    kept in `cache_dir`.
    Under torch.distributed each process updates with its own batches, and all get the scores of all.
    Raises InputError for an unknown reference and for fewer than 10 fakes or reals.
    """

    def __init__(
        self,
        extractor: Any,
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
        if n_fakes < FEWEST:
            raise InputError(f"metrics.n_fakes={n_fakes}: must be at least {FEWEST}")
        for split, images in data.splits.items():
            if len(images) < FEWEST:
                raise InputError(
                    f"metrics: the {split} split has {len(images)} images, scores need at least {FEWEST}; add some "
                    "(without a test folder every tenth image of a class is held out), or metrics=none"
                )
        self.extractor, self.conditional, self.num_classes = extractor, conditional, data.shape["num_classes"]
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else None
        self.fid_name = name_fid(n_fakes)
        self.n_floor = min(len(self.others), n_fakes)
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
            "neighbours": NEIGHBORS,
            "generator": generator,
            "z_seed": z_seed,
        }
        for what, n in {"n_fakes": n_fakes, "reference": len(self.reals)}.items():
            if n <= extractor.num_features:
                log.warning(
                    "metrics.%s: %d images are too few for a covariance of %d features: %s is biased high, use kid",
                    *(what, n, extractor.num_features, self.fid_name),
                )

    def measure_reals(self, device: torch.device | str = "cpu") -> None:
        """Fetch the real images' statistics and the floor from the cache, or extract them on a device and keep them."""
        if self.floor or get_rank():
            return
        ours = ("generator", "z_seed")  # of the fakes only
        parts = {name: value for name, value in self.protocol.items() if name not in ours}
        parts |= {"others_sha256": self.others.fingerprint(), "device": torch.device(device).type}
        path = self.cache_dir / f"{digest(parts)}.safetensors" if self.cache_dir else None
        found = load_statistics(path) if path else None
        if found:
            self.real_statistics, floor = found
        else:
            self.real_statistics = compute_statistics(self.extractor, self.reals, device)
            chosen = choose_evenly(len(self.others), self.n_floor)
            floor = self.compute_all_scores(
                concatenate_outputs(list(extract_outputs(self.extractor, self.others, chosen, device)))
            )
            if path:
                save_statistics(path, self.real_statistics, floor)
        if self.num_classes and self.extractor.knows_classes:
            self.require_known_classes(floor["conditional_accuracy"])
        self.floor = self.drop_inapplicable(floor)

    def require_known_classes(self, right: float) -> None:
        """Raise InputError for an extractor that tells other classes apart than the images have, by its accuracy."""
        known = len(self.real_statistics.class_shares)
        chance = 1 / self.num_classes
        if known == self.num_classes and right > chance + CLEAR_GAIN * (1 - chance):
            return
        problem = f"finds the class of {right:.0%} of the real images"
        if known != self.num_classes:
            problem = f"knows {known} classes, the images have {self.num_classes}"
        raise InputError(
            f"metrics: {self.extractor.name} {problem}: it was made for other images; use metrics=own, "
            "metrics=inception or metrics=none"
        )

    @torch.no_grad()
    def score(
        self, generator: nn.Module, samples: Iterable[tuple[Tensor, Tensor]], device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """Return the scores of what a generator makes of batches of z and labels."""
        self.measure_reals(device)
        self.reset()
        generator = generator.to(device).eval()
        for z, labels in track(samples, "scoring", transient=True, disable=bool(get_rank()) or not sys.stdout.isatty()):
            self.update(generator(z.to(device), labels.to(device)), labels)
        return self.compute()

    def reset(self) -> None:
        """Forget the fakes; the reals stay."""
        self.batches = []

    def update(self, fakes: Tensor, labels: Tensor) -> None:
        """Take in fakes (N, C, H, W) in [-1, 1] and the labels (N,) they were made for."""
        features, logits = self.extractor(to_uint8(fakes))
        self.batches.append(ExtractorOutputs(features.cpu(), None if logits is None else logits.cpu(), labels.cpu()))

    def compute(self) -> dict[str, float]:
        """Return the scores of all processes' fakes, in the order in which one process would have made them."""
        batches = self.gather_batches()
        return gather_objects(None if get_rank() else self.compute_scores(concatenate_outputs(batches)))[0]

    def compute_at_floor(self) -> dict[str, float]:
        """Return the scores of `n_floor` of the fakes, the mean over a few parts where that is few; {} if it is all.

        FID, recall, coverage, ... depend on the number of images: only these scores compare with the floor's.
        """
        batches, n_fakes = self.gather_batches(), self.protocol["n_fakes"]
        if self.n_floor == n_fakes or sum(len(batch.labels) for batch in batches) != n_fakes:
            return {}
        return gather_objects(None if get_rank() else self.score_subsets(concatenate_outputs(batches)))[0]

    def score_subsets(self, fakes: ExtractorOutputs) -> dict[str, float]:
        """Return the mean scores of parts of `n_floor` fakes, drawn by a fixed seed."""
        n_parts = min(MOST_PARTS, len(fakes.labels) // self.n_floor, max(1, ENOUGH // self.n_floor))
        order = torch.randperm(len(fakes.labels), generator=torch.Generator().manual_seed(0))
        parts = [self.compute_scores(select_outputs(fakes, chosen)) for chosen in order.split(self.n_floor)[:n_parts]]
        return {name: sum(part[name] for part in parts) / n_parts for name in parts[0]}

    def describe(self) -> dict[str, Any]:
        """Return what belongs to the scores of the fakes that were last taken in: the floor, both n, the protocol."""
        return {
            "floor": self.floor,
            "n_floor": self.n_floor,
            "at_n_floor": self.compute_at_floor(),
            "protocol": self.protocol,
        }

    def gather_batches(self) -> list[ExtractorOutputs]:
        """Return all processes' batches in the order in which one process would have made them."""
        return [batch for turn in zip_longest(*gather_objects(self.batches)) for batch in turn if batch is not None]

    def compute_scores(self, outputs: ExtractorOutputs) -> dict[str, float]:
        """Return the scores of images by their features, FID named after the number of fakes."""
        return self.drop_inapplicable(self.compute_all_scores(outputs))

    def compute_all_scores(self, outputs: ExtractorOutputs) -> dict[str, float]:
        """Return all scores that the extractor can give."""
        measured = compute_scores(outputs, self.real_statistics, knows_classes=self.extractor.knows_classes)
        return {self.fid_name: measured.pop("fid")} | measured

    def drop_inapplicable(self, measured: dict[str, float]) -> dict[str, float]:
        """Return scores without what an unconditional generator has not: a class that it was asked for."""
        return {name: value for name, value in measured.items() if self.conditional or name != "conditional_accuracy"}
