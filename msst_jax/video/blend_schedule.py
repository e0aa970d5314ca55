"""Blend schedules of videos: the blend ratio as a piecewise linear function of time."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.presets.validation import check_number


class BlendSchedule(NamedTuple):
    """Blend ratios at increasing times; linear in between, constant before the first and after the last."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    def at(self, time: Fraction | float) -> float:
        """The ratio at a time in seconds."""
        return float(np.interp(float(time), self.seconds, self.ratios))


def constant_blend(ratio: float) -> BlendSchedule:
    """A schedule of one constant ratio."""
    return BlendSchedule((0.0,), (ratio,))


def parse_blend_schedule(text: str) -> BlendSchedule:
    """Parses "0.2" or "0:0.0,5:1.0" (SECONDS:RATIO, ...).

    Raises:
      UserError: not numbers, negative ones, or times that do not increase.
    """
    points: list[Sequence[str]] = [part.split(":") for part in text.split(",")]
    try:
        if len(points) == 1 and len(points[0]) == 1:
            schedule = constant_blend(float(text))
        else:
            seconds, ratios = zip(*((float(second), float(ratio)) for second, ratio in points), strict=True)
            schedule = BlendSchedule(seconds, ratios)
    except ValueError:
        raise UserError(
            f"--blend {text!r} is neither a number nor SECONDS:RATIO,...; write for example --blend 0:0.0,5:1.0"
        ) from None
    for number in (*schedule.seconds, *schedule.ratios):
        check_number("--blend", number)
    if any(later <= earlier for earlier, later in zip(schedule.seconds, schedule.seconds[1:], strict=False)):
        raise UserError(f"--blend {text!r}: the seconds must increase from one point to the next")
    return schedule
