"""The averaged generator against the closed form of its recursion."""

import pytest
import torch
from torch import nn

from gan.ema import EMA
from gan.errors import InputError


def follow(values: list[float], **options) -> float:
    module = nn.Linear(1, 1, bias=False)
    ema = EMA(module, **options)
    for steps, value in enumerate(values):
        nn.init.constant_(module.weight, value)
        ema.update(module, steps)
    return ema.module.weight.item()


def test_a_jump_is_halved_after_a_half_life():
    assert follow([0.0] + [1.0] * 10, half_life_steps=10, ramp_up=1e9) == pytest.approx(0.5)


def test_ramp_up_shortens_the_half_life_early():
    expected = 0.0
    for step in range(1, 51):
        expected += (1 - 0.5 ** (1 / min(10, 0.1 * step))) * (1 - expected)
    assert follow([0.0] + [1.0] * 50, half_life_steps=10, ramp_up=0.1) == pytest.approx(expected, abs=1e-6)


def test_half_life_zero_is_an_exact_copy():
    assert follow([0.0, 1.0, 5.0], half_life_steps=0) == 5.0


def test_buffers_are_copied():
    module = nn.BatchNorm1d(2)
    ema = EMA(module, half_life_steps=100)
    for steps in range(3):
        module(torch.randn(8, 2) + 3)
        ema.update(module, steps)
    torch.testing.assert_close(ema.module.running_mean, module.running_mean)
    assert ema.module.num_batches_tracked == 3


def test_without_ramp_up_the_whole_half_life_counts_from_the_start():
    values, average = [0.0, 1.0, -2.0, 4.0], 0.0
    for value in values[1:]:
        average += (1 - 0.5 ** (1 / 3)) * (value - average)
    assert follow(values, half_life_steps=3, ramp_up=None) == pytest.approx(average, abs=1e-6)


@pytest.mark.parametrize("options", [{"half_life_steps": -1}, {"half_life_steps": 5, "ramp_up": -0.1}])
def test_negative_lengths_are_refused(options):
    with pytest.raises(InputError, match=r"ema_.*=-.*0"):
        follow([0.0], **options)
