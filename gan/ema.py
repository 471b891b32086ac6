"""The exponential moving average (EMA) of the generator, which is scored, sampled and saved."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gan.errors import InputError


def build_ema(generator: nn.Module, *, half_life_steps: float, ramp_up: float | None = 0.05) -> AveragedModel:
    """Return an average of the generator's weights, updated once per step by `update_parameters(generator)`.

    The weight of a step halves every `half_life_steps` steps; 0 gives an exact copy. Early in training the half-life is
    at most `ramp_up` times the steps taken so far, which keeps the noise of the first steps out of short runs; None
    turns that off (Karras et al. 2020, StyleGAN2-ADA, where ramp_up is 0.05). Buffers are copied, not averaged (Yazici
    et al. 2019). Raises InputError for a negative half-life or ramp-up.
    """
    for key, value in {"half_life_steps": half_life_steps, "ramp_up": ramp_up}.items():
        if value is not None and not value >= 0:
            raise InputError(f"ema_{key}={value:g}: must be at least 0; 0 turns averaging off")

    @torch.no_grad()
    def follow(averages: list[Tensor], currents: list[Tensor], updates: Tensor) -> None:
        half_life = half_life_steps if ramp_up is None else min(half_life_steps, ramp_up * float(updates))
        decay = 0.5 ** (1 / half_life) if half_life > 0 else 0.0
        get_ema_multi_avg_fn(decay)(averages, currents, updates)

    return AveragedModel(generator, multi_avg_fn=follow)
