"""Time of one evaluation of a run's samples: sampling, features, and each score."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from rich.table import Table

from gan.data.pixels import to_uint8
from gan.metrics.manifold import compute_manifold_scores
from gan.metrics.scorer import Scorer
from gan.metrics.scores import compute_fid, compute_inception_score, compute_kid
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


@torch.no_grad()
def measure(overrides: list[str], turns: int) -> None:
    """Time the parts of an evaluation, each `turns` times."""
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
    reference, samples = scorer.real_statistics, list(data.latents.build_loader())
    parts["sampling"], fakes = time_task(lambda: torch.cat([generator(z, labels) for z, labels in samples]), turns)
    parts["features"], pairs = time_task(lambda: [extractor(to_uint8(part)) for part in fakes.split(500)], turns)
    features = torch.cat([features for features, _ in pairs]).double()
    parts["FID"], _ = time_task(lambda: compute_fid(features, reference), turns)
    parts["KID"], _ = time_task(lambda: compute_kid(features, reference), turns)
    reals = reference.features.double()
    parts["precision, recall, density, coverage"], _ = time_task(
        lambda: compute_manifold_scores(reals, reference.radii, features), turns
    )
    if pairs[0][1] is not None:
        logits = torch.cat([logits for _, logits in pairs])
        parts["Inception Score"], _ = time_task(lambda: compute_inception_score(logits), turns)
    total = sum(parts.values())
    title = f"one evaluation: {len(fakes):,} fakes, {reference.n:,} reals, {extractor.name}"
    table = Table("part", "seconds", "share", title=f"{title}, {torch.get_num_threads()} threads")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / total:.0%}")
    table.add_section()
    table.add_row("whole", f"{total:.2f}", "100%")
    table.add_row("real images, the first time", f"{first:.2f}", "")
    plain_console().print(table)
