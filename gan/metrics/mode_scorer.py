"""Mode scores of a generator, with their protocol and with the floor that real samples reach."""

from typing import Any

import torch
from torch import Tensor

from gan.data.datamodule import ImageData, Images
from gan.distributed import get_rank
from gan.metrics.extractors.nearest_mode import NearestMode
from gan.metrics.modes import compute_mode_scores
from gan.metrics.real_statistics import choose_evenly
from gan.metrics.scorer import Scorer
from gan.metrics.scores import ExtractorOutputs

FEW_MODES, MOSTLY_GOOD = 0.25, 0.5  # shares of modes found and of samples of high quality that make a collapse


class ModeScorer(Scorer):
    """Scores samples by the modes that they are in, see `gan.metrics.modes.compute_mode_scores`.

    Its own score, mode_kl, is the reverse KL with the samples of low quality as one more mode. It is the objective: a
    generator that covers the whole plane has few samples of high quality, but these are in all modes, and so it has a
    low reverse_kl. The extractor maps samples to modes. All else is as for `Scorer`, except that nothing is cached.
    """

    def __init__(self, extractor: NearestMode, data: ImageData, **options: Any) -> None:
        super().__init__(extractor, data, **options)
        self.objectives = ("mode_kl", "reverse_kl")
        for name in ("kid", "neighbours"):
            del self.protocol[name]

    def list_scores(self) -> list[str]:
        return ["modes", "high_quality", "reverse_kl", "mode_kl"]

    def measure_reals(self, device: torch.device | str = "cpu") -> None:
        """Compute the shares of the modes among the reals, and the floor."""
        if self.floor or get_rank():
            return
        modes = self.find_modes(self.reals, torch.arange(len(self.reals)))
        counts = torch.bincount(self.count_low_quality(modes), minlength=self.extractor.num_modes + 1)
        self.real_shares = counts.double() / len(modes)  # low quality last
        self.floor = self.score_modes(self.find_modes(self.others, choose_evenly(len(self.others), self.n_floor)))

    def find_modes(self, samples: Images, chosen: Tensor) -> Tensor:
        """Return the modes (n,) of the chosen reals, by indices (n,)."""
        return self.extractor(samples.__getitems__(chosen.tolist())[0])

    def update(self, fakes: Tensor, labels: Tensor) -> None:
        """Add fakes (N, C, H, W); raise ValueError for fakes that are not finite."""
        self.batches.append(ExtractorOutputs(self.extractor(fakes).cpu(), None, labels.cpu()))  # features are modes

    def score_outputs(self, outputs: ExtractorOutputs) -> dict[str, float]:
        return self.score_modes(outputs.features)

    def score_modes(self, modes: Tensor) -> dict[str, float]:
        """Return the scores of samples by their modes (N,), -1 for those of low quality."""
        scores = compute_mode_scores(modes, self.real_shares[:-1])
        of_all = compute_mode_scores(self.count_low_quality(modes), self.real_shares)
        return scores | {"mode_kl": of_all["reverse_kl"]}

    def count_low_quality(self, modes: Tensor) -> Tensor:
        """Return modes (N,) with those of low quality, -1, as one more mode."""
        return modes.where(modes >= 0, self.extractor.num_modes)

    def find_collapse(self, scores: dict[str, float], before: dict[str, float]) -> str | None:
        """Return why samples are collapsed: most are of high quality, but in few modes; None if they are not."""
        found, known = scores["modes"], self.extractor.num_modes
        if scores["high_quality"] < MOSTLY_GOOD or found >= FEW_MODES * known:
            return None
        return f"{found:g} of {known} modes"
