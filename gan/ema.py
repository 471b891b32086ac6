"""The exponential moving average (EMA) of the generator, which is scored, sampled and saved."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gan.errors import InputError


class EMA(AveragedModel):
    """An average of the generator's weights, called as the generator is.

    The weight of a step halves every `half_life_steps` steps; 0 gives an exact copy. Early in training the half-life is
    at most `ramp_up` times the steps taken so far, which keeps the noise of the first steps out of short runs; None
    turns that off (Karras et al. 2020, StyleGAN2-ADA, where ramp_up is 0.05). Buffers are copied, not averaged (Yazici
    et al. 2019). Raises InputError for a negative half-life or ramp-up.
    """

    def __init__(self, generator: nn.Module, *, half_life_steps: float, ramp_up: float | None = 0.05) -> None:
        for key, value in {"half_life_steps": half_life_steps, "ramp_up": ramp_up}.items():
            if value is not None and not value >= 0:
                raise InputError(f"ema_{key}={value:g}: must be at least 0; 0 turns averaging off")
        super().__init__(generator)
        self.half_life_steps, self.ramp_up = half_life_steps, ramp_up

    @torch.no_grad()
    def update(self, generator: nn.Module, steps: int) -> None:
        """Include the generator's current weights in the average, after `steps` earlier updates.

        The count is an argument because `AveragedModel.update_parameters` reads its own from the device, for which each
        step would wait.
        """
        averages, currents = list(self.module.parameters()), list(generator.parameters())
        get_ema_multi_avg_fn(self.compute_decay(steps))(averages, currents, steps)
        for average, current in zip(self.module.buffers(), generator.buffers(), strict=True):
            average.copy_(current)
        self.n_averaged += 1

    def compute_decay(self, steps: int) -> float:
        """Return the weight of the average so far in the next one, after `steps` updates; 0 for the first."""
        half_life = self.half_life_steps if self.ramp_up is None else min(self.half_life_steps, self.ramp_up * steps)
        return 0.5 ** (1 / half_life) if steps and half_life > 0 else 0.0
