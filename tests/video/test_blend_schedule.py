"""--blend of a clip: one number, or numbers at seconds with straight lines between them."""

from fractions import Fraction

import pytest

from msst_jax.errors import UserError
from msst_jax.video.blend_schedule import constant_blend, parse_blend_schedule


def test_one_number_holds_all_the_time():
    ramp = parse_blend_schedule("0.3")
    assert ramp == constant_blend(0.3)
    assert [ramp.at(time) for time in (0, 5.5, Fraction(10**6))] == [0.3] * 3


def test_between_the_points_are_straight_lines_and_before_and_after_them_nothing_changes():
    ramp = parse_blend_schedule("1:0.0,3:1.0,4:0.5")
    times = (0, 1, 2, Fraction(5, 2), 3, 3.5, 4, 100)
    assert [ramp.at(time) for time in times] == [0, 0, 0.5, 0.75, 1, 0.75, 0.5, 0.5]


def test_a_single_point_is_a_constant():
    assert parse_blend_schedule("2:0.4").at(0) == parse_blend_schedule("2:0.4").at(9) == 0.4


@pytest.mark.parametrize("text", ["", "a", "0:", ":1", "0,0.2", "0:0.1,0.5", "1:2:3", "0:0.1,", "0:0.1;5:1"])
def test_what_is_no_ramp_is_one_line_with_an_example(text: str):
    with pytest.raises(UserError, match=r"is neither a number nor SECONDS:RATIO,...; write for example --blend 0:0.0"):
        parse_blend_schedule(text)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "0:-1,2:0", "-1:0,2:0", "nan:0", "0:nan", "0:0,inf:1"])
def test_numbers_that_are_negative_or_none_are_refused(text: str):
    with pytest.raises(UserError, match=r"--blend"):
        parse_blend_schedule(text)


@pytest.mark.parametrize("text", ["0:0,0:1", "2:0,1:1", "0:0,2:1,2:0"])
def test_seconds_that_do_not_grow_are_refused(text: str):
    with pytest.raises(UserError, match=r"the seconds must grow from one to the next$"):
        parse_blend_schedule(text)
