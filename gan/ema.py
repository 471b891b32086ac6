"""The exponential moving average of the generator, which is what gets scored, sampled and saved."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan.errors import InputError


def build_ema(generator: nn.Module, *, half_life_steps: float, ramp_up: float | None = 0.05) -> AveragedModel:
    """Return a copy of the generator that follows it with the given half-life in steps (0: an exact copy).

    Early on the half-life is at most `ramp_up` times the steps taken, so that short runs are not averages of their own
    noise (Karras et al. 2020, StyleGAN2-ADA, where ramp_up is 0.05); None leaves it whole. Buffers are copied, not
    averaged (Yazici et al. 2019).
    """
    for key, value in {"half_life_steps": half_life_steps, "ramp_up": ramp_up}.items():
        if value is not None and not value >= 0:
            raise InputError(f"ema_{key}={value:g}: must be 0 (no averaging) or more")

    @torch.no_grad()
    def follow(averages: list[Tensor], currents: list[Tensor], updates: Tensor) -> None:
        half_life = half_life_steps if ramp_up is None else min(half_life_steps, ramp_up * float(updates))
        decay = 0.5 ** (1 / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(averages, currents, 1 - decay)

    return AveragedModel(generator, multi_avg_fn=follow)
