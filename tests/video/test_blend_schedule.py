"""--blend of a video: one ratio, or ratios at given seconds with linear interpolation in between."""

from fractions import Fraction

import pytest

from msst_jax.errors import UserError
from msst_jax.video.blend_schedule import constant_blend, parse_blend_schedule


def test_a_single_number_is_constant_over_time():
    schedule = parse_blend_schedule("0.3")
    assert schedule == constant_blend(0.3)
    assert [schedule.at(time) for time in (0, 5.5, Fraction(10**6))] == [0.3] * 3


def test_the_ratio_is_linear_between_points_and_constant_outside_them():
    schedule = parse_blend_schedule("1:0.0,3:1.0,4:0.5")
    times = (0, 1, 2, Fraction(5, 2), 3, 3.5, 4, 100)
    assert [schedule.at(time) for time in times] == [0, 0, 0.5, 0.75, 1, 0.75, 0.5, 0.5]


def test_a_single_point_is_a_constant():
    assert parse_blend_schedule("2:0.4").at(0) == parse_blend_schedule("2:0.4").at(9) == 0.4


@pytest.mark.parametrize("text", ["", "a", "0:", ":1", "0,0.2", "0:0.1,0.5", "1:2:3", "0:0.1,", "0:0.1;5:1"])
def test_a_malformed_schedule_is_a_one_line_error_with_an_example(text: str):
    with pytest.raises(UserError, match=r"is neither a number nor SECONDS:RATIO,...; write for example --blend 0:0.0"):
        parse_blend_schedule(text)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "0:-1,2:0", "-1:0,2:0", "nan:0", "0:nan", "0:0,inf:1"])
def test_negative_and_nonfinite_numbers_are_rejected(text: str):
    with pytest.raises(UserError, match=r"--blend"):
        parse_blend_schedule(text)


@pytest.mark.parametrize("text", ["0:0,0:1", "2:0,1:1", "0:0,2:1,2:0"])
def test_seconds_that_do_not_increase_are_rejected(text: str):
    with pytest.raises(UserError, match=r"the seconds must increase from one point to the next$"):
        parse_blend_schedule(text)
