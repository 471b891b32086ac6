"""Schedules at their ends and in between."""

import math

import pytest

from gan.schedules import constant, cosine, linear


@pytest.mark.parametrize("final", [0.0, 0.02])
def test_schedules_fall_from_one_to_their_end(final):
    for schedule in (linear, cosine):
        values = [schedule(i / 100, final=final) for i in range(101)]
        assert values[0] == pytest.approx(1)
        assert values[-1] == pytest.approx(final)
        assert values[50] == pytest.approx((1 + final) / 2)
        assert values == sorted(values, reverse=True)
    assert [constant(0.0), constant(1.0)] == [1.0, 1.0]


def test_the_cosine_is_one():
    assert cosine(0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
