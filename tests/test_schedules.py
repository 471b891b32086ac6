"""Schedules at their ends and in between."""

import math

import pytest

from gan.errors import InputError
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


@pytest.mark.parametrize("until", [0.2, 0.5])
def test_a_cosine_that_ends_early_stays_at_its_end(until):
    assert cosine(0.0, final=0.25, until=until) == pytest.approx(1)
    assert cosine(until / 2, final=0.25, until=until) == pytest.approx((1 + 0.25) / 2)
    assert cosine(until / 4, until=until) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert [cosine(progress, final=0.25, until=until) for progress in (until, 0.75, 1.0)] == [0.25] * 3


@pytest.mark.parametrize("until", [0.0, -0.5, 1.5])
def test_an_end_outside_of_the_run_is_refused(until):
    with pytest.raises(InputError, match=r"schedule\.until=.*: must be a share of the run, above 0 and at most 1"):
        cosine(0.5, until=until)
