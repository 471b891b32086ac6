"""The nearest mode of points whose modes are known."""

import torch
from torch import Tensor

from gan.data.datamodule import ImageData
from gan.data.points import Points
from gan.errors import InputError
from gan.system.files import digest

DEVIATIONS = 3  # a sample of high quality is nearer to its mode than this, in standard deviations


class NearestMode:
    """Maps points (N, 2, 1, 1) to the index of their nearest mode, -1 for those 3 or more standard deviations from it.

    Lin et al. 2018 (PacGAN), section 4.1. Raises InputError for data without known modes.
    """

    num_features, knows_classes = 1, False

    def __init__(self, data: ImageData) -> None:
        if not isinstance(data, Points):
            raise InputError("metrics=modes: the modes of these images are unknown; use data=ring8 or data=grid25")
        self.centers, self.radius, self.num_modes = data.centers, DEVIATIONS * data.std, len(data.centers)
        self.name, self.resize = f"nearest of {self.num_modes} modes", f"within {DEVIATIONS} standard deviations"
        self.sha256 = digest([self.centers.tolist(), data.std])

    def __call__(self, points: Tensor) -> Tensor:
        """Return the modes (N,) int64 of points (N, 2, 1, 1); raise ValueError for points that are not finite."""
        if not bool(torch.isfinite(points).all()):
            raise ValueError("points must be finite to have a nearest mode")
        distances, modes = torch.cdist(points.flatten(1).double(), self.centers.to(points.device).double()).min(1)
        return modes.where(distances < self.radius, -1)
