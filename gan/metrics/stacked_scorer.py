"""Mode scores of Stacked MNIST, whose images are all in one of the modes."""

from typing import Any

import torch
from torch import Tensor

from gan.data.datamodule import Images
from gan.data.stacked import StackedMNIST
from gan.distributed import get_rank
from gan.metrics.extractors.stacked_digits import StackedDigits
from gan.metrics.mode_scorer import FEW_MODES, ModeScorer
from gan.metrics.modes import compute_mode_scores
from gan.metrics.real_statistics import BATCH, choose_evenly
from gan.system.files import digest


class StackedScorer(ModeScorer):
    """Scores images of three digits by the modes that they are in, with their number and the reverse KL.

    The reverse KL is to the shares of the modes among all stacks of three training digits, which are uniform for
    mnist_5k (Lin et al. 2018, PacGAN, section 4.2). Both scores depend on the number of samples.
    """

    def __init__(self, extractor: StackedDigits, data: StackedMNIST, **options: Any) -> None:
        super().__init__(extractor, data, **options)
        self.objectives, self.real_shares = ("reverse_kl",), extractor.mode_shares
        self.protocol["mode_shares_sha256"] = digest(extractor.mode_shares.tolist())

    def list_scores(self) -> list[str]:
        return ["modes", "reverse_kl"]

    def measure_reals(self, device: torch.device | str = "cpu") -> None:
        """Compute the floor."""
        if not self.floor and not get_rank():
            self.floor = self.score_modes(self.find_modes(self.others, choose_evenly(len(self.others), self.n_floor)))

    def find_modes(self, samples: Images, chosen: Tensor) -> Tensor:
        return torch.cat([super(StackedScorer, self).find_modes(samples, part) for part in chosen.split(BATCH)])

    def score_modes(self, modes: Tensor) -> dict[str, float]:
        scores = compute_mode_scores(modes, self.real_shares)
        return {name: scores[name] for name in self.list_scores()}

    def find_collapse(self, scores: dict[str, float], before: dict[str, float]) -> str | None:
        """Return why samples are collapsed, None if they are not: few modes, no more than at the evaluation before.

        At the start of training all samples look like one digit.
        """
        found, known = scores["modes"], self.extractor.num_modes
        if found >= FEW_MODES * known or found > before.get("modes", 0):
            return None
        return f"{found:g} of {known:,} modes"
