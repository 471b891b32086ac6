"""Statistics of the real images, which all scores need: computed once per protocol, cached on disk."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.markup import escape
from rich.progress import track
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gan.data.datamodule import Images
from gan.metrics.extractors.extractor import Extractor
from gan.metrics.manifold import compute_radii
from gan.metrics.scores import ExtractorOutputs, RealStatistics
from gan.system.files import write_to_cache

BATCH = 250
MOST_FEATURES = 10_000  # stored, for scores that compare pairs of images
LAYOUT = 2  # of the stored statistics, part of their keys


def extract_outputs(
    extractor: Extractor, images: Images, chosen: Tensor, device: torch.device | str
) -> Iterator[ExtractorOutputs]:
    """Yield the extractor's outputs for the chosen images, given by indices (n,), in batches of 250 on the CPU."""
    title = escape(f"{extractor.name}: real images")
    rows = track(chosen.split(BATCH), title, transient=True, disable=not sys.stdout.isatty())
    for indices in rows:
        batch, labels = images.__getitems__(indices.tolist())
        features, logits = extractor(batch.to(device))
        yield ExtractorOutputs(features.cpu(), None if logits is None else logits.cpu(), labels)


def choose_evenly(size: int, n: int) -> Tensor:
    """Return at most n indices below `size`, evenly spaced: of a set sorted by class they have all classes."""
    return torch.linspace(0, size - 1, min(size, n)).round().long()


def compute_statistics(
    extractor: Extractor, images: Images, device: torch.device | str, *, num_classes: int = 0
) -> RealStatistics:
    """Return the statistics of all images and, if `num_classes` is not 0, of those of each label.

    Raises ValueError for features that are not finite.
    """
    d = extractor.num_features
    total, products = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    counts, features = torch.zeros(()), []
    for outputs in extract_outputs(extractor, images, torch.arange(len(images)), device):
        batch = outputs.features.double()
        total += batch.sum(0)
        products += batch.T @ batch
        features.append(outputs.features)
        if outputs.logits is not None:
            counts = counts + torch.bincount(outputs.logits.argmax(1), minlength=outputs.logits.shape[1])
    if not torch.isfinite(products).all():
        raise ValueError(f"{extractor.name}: its features of the real images are not finite")
    every = torch.cat(features)
    chosen = every[choose_evenly(len(images), MOST_FEATURES)]
    of_labels = sum_by_label(every, images.labels, num_classes) if num_classes else (None, None, None)
    return RealStatistics(
        len(images), total, products, chosen, compute_radii(chosen.double()), counts.double() / len(images), *of_labels
    )


def sum_by_label(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts (k,), sums (k, d) and sums of outer products (k, d, d), in float64, of features (N, d) by label."""
    parts = [features[labels == label].double() for label in range(num_classes)]
    sums, products = zip(*((part.sum(0), part.T @ part) for part in parts), strict=True)
    return labels.bincount(minlength=num_classes), torch.stack(sums), torch.stack(products)


def save_statistics(path: Path, reals: RealStatistics, floor: dict[str, float]) -> None:
    """Write statistics and the floor to a file, whole or not at all; warn if the folder can't be written to."""
    tensors = {name: value.contiguous() for name, value in vars(reals).items() if isinstance(value, Tensor)}
    content = save(tensors, metadata={"n": str(reals.n), "floor": json.dumps(floor)})
    write_to_cache(path, content, "statistics of the real images")


def load_statistics(path: Path) -> tuple[RealStatistics, dict[str, float]] | None:
    """Return the statistics and the floor in a file, None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            return RealStatistics(n=int(file.metadata()["n"]), **tensors), json.loads(file.metadata()["floor"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError):
        return None
