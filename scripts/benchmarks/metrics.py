"""Time of one evaluation of a run's samples: sampling, features, and each score; and the same by torch-fidelity."""

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from rich.table import Table
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor

from gan.data.pixels import to_uint8
from gan.metrics.extractors.extractor import Extractor
from gan.metrics.kid import SUBSET_SIZE, compute_kid
from gan.metrics.manifold import NEIGHBORS, compute_manifold_scores
from gan.metrics.real_statistics import BATCH, MOST_FEATURES, choose_evenly
from gan.metrics.scorer import Scorer
from gan.metrics.scores import (
    ExtractorOutputs,
    RealStatistics,
    compute_fid,
    compute_inception_score,
    compute_scores,
    concatenate_outputs,
)
from gan.run.build import build_data, build_extractor, build_gan
from gan.system.console import plain_console

CONF = Path(__file__).resolve().parents[2] / "conf"


def time_task(task: Callable[[], Any], turns: int) -> tuple[float, Any]:
    """Return a task's median seconds and its last result."""
    seconds = []
    for _ in range(turns):
        started = time.perf_counter()
        result = task()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def time_in_turn(tasks: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Return the median seconds of tasks by name, which take turns."""
    seconds = [[time_task(task, 1)[0] for task in tasks.values()] for _ in range(turns)]
    return dict(zip(tasks, map(statistics.median, zip(*seconds, strict=True)), strict=True))


class Pixels(Dataset):
    """Images (N, C, H, W) as a data set for torch-fidelity."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def prepare_torch_fidelity(extractor: Extractor, fakes: Tensor, reals: Tensor, cache_dir: str) -> Callable[[], dict]:
    """Return a call of torch-fidelity that scores uint8 images by an extractor; features of the reals are cached."""

    class Registered(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            outputs = dict(zip(self.get_provided_features_list(), extractor(images), strict=True))
            return tuple(outputs[name] for name in self.features_list)

    register_feature_extractor("extractor", Registered)
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # 4 workers, whatever the cores
    return lambda: calculate_metrics(
        **{"input1": Pixels(fakes), "input2": Pixels(reals), "input2_cache_name": "reals", "cache_root": cache_dir},
        **{"feature_extractor": "extractor", "batch_size": BATCH, "cuda": False, "verbose": False},
        **{"fid": True, "kid": True, "prc": True, "isc": extractor(fakes[:2])[1] is not None},
        **{"kid_subset_size": min(SUBSET_SIZE, len(fakes), len(reals)), "prc_neighborhood": NEIGHBORS},
    )


def extract(extractor: Extractor, images: Tensor) -> ExtractorOutputs:
    """Return the outputs for uint8 images (N, C, H, W), as if all labels were 0."""
    labels = torch.zeros(BATCH, dtype=torch.long)
    parts = images.split(BATCH)
    return concatenate_outputs([ExtractorOutputs(*extractor(part), labels[: len(part)]) for part in parts])


def time_scores(outputs: ExtractorOutputs, reference: RealStatistics, turns: int) -> dict[str, float]:
    """Return the median seconds of each score by name."""
    features, reals, logits = outputs.features.double(), reference.features.double(), outputs.logits
    tasks: dict[str, Callable[[], Any]] = {
        "FID": lambda: compute_fid(features, reference),
        "KID": lambda: compute_kid(features, reals),
        "precision, recall, density, coverage": lambda: compute_manifold_scores(reals, reference.radii, features),
    }
    if logits is not None:
        tasks["Inception Score"] = lambda: compute_inception_score(logits)
    return {name: time_task(task, turns)[0] for name, task in tasks.items()}


@torch.no_grad()
def measure(overrides: list[str], turns: int) -> None:
    """Time the parts of an evaluation, each `turns` times, and then its scores and torch-fidelity's in turn."""
    with initialize_config_dir(str(CONF)):
        cfg = compose("train", overrides)
    data = build_data(cfg)
    generator = build_gan(cfg, data.shape).generator.eval()
    extractor = build_extractor(cfg, data)
    with TemporaryDirectory() as cache_dir:

        def measure_reals() -> Scorer:
            scorer = Scorer(
                extractor, data, n_fakes=data.latents.n, reference=cfg.metrics.reference, cache_dir=cache_dir
            )
            scorer.measure_reals()
            return scorer

        first, _ = time_task(measure_reals, 1)
        parts = {}
        parts["real images, from the cache"], scorer = time_task(measure_reals, turns)
        reference = scorer.real_statistics
        parts["sampling"], fakes = time_task(
            lambda: torch.cat([to_uint8(generator(z, labels)) for z, labels in data.latents.build_loader()]), turns
        )
        parts["features"], outputs = time_task(lambda: extract(extractor, fakes), turns)
        parts |= time_scores(outputs, reference, turns)
        reals, _ = scorer.reals.__getitems__(choose_evenly(reference.n, MOST_FEATURES).tolist())
        score_by_torch_fidelity = prepare_torch_fidelity(extractor, fakes, reals, cache_dir)
        score_by_torch_fidelity()  # caches the reals
        tasks = {
            "features and scores": lambda: compute_scores(
                extract(extractor, fakes), reference, knows_classes=extractor.knows_classes
            ),
            "torch-fidelity, without density, coverage": score_by_torch_fidelity,
        }
        compared = time_in_turn(tasks, turns)
    total = sum(parts.values())
    title = f"one evaluation: {len(fakes):,} fakes, {reference.n:,} reals, {extractor.name}"
    table = Table("part", "seconds", "share", title=f"{title}, {torch.get_num_threads()} threads")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}")
    table.add_section()
    table.add_row("whole", f"{total:.2f}", "100%")
    table.add_row("real images, the first time", f"{first:.2f}", "")
    for name, seconds in compared.items():
        table.add_row(name, f"{seconds:.2f}", "")
    plain_console().print(table)
