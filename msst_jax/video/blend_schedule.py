"""The blend ratio over the time of a clip."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.presets.validation import check_number


class BlendSchedule(NamedTuple):
    """Blend ratios at some seconds, in order; straight lines between them, constant before and after."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    def at(self, time: Fraction | float) -> float:
        """The ratio at a time in seconds."""
        return float(np.interp(float(time), self.seconds, self.ratios))


def constant_blend(ratio: float) -> BlendSchedule:
    """One ratio all the time."""
    return BlendSchedule((0.0,), (ratio,))


def parse_blend_schedule(text: str) -> BlendSchedule:
    """ "0.2" or "0:0.0,5:1.0" (SECONDS:RATIO, ...) to a ramp.

    Raises:
      UserError: not numbers, negative ones, or times that do not grow.
    """
    points: list[Sequence[str]] = [part.split(":") for part in text.split(",")]
    try:
        if len(points) == 1 and len(points[0]) == 1:
            ramp = constant_blend(float(text))
        else:
            seconds, ratios = zip(*((float(second), float(ratio)) for second, ratio in points), strict=True)
            ramp = BlendSchedule(seconds, ratios)
    except ValueError:
        raise UserError(
            f"--blend {text!r} is neither a number nor SECONDS:RATIO,...; write for example --blend 0:0.0,5:1.0"
        ) from None
    for number in (*ramp.seconds, *ramp.ratios):
        check_number("--blend", number)
    if any(later <= earlier for earlier, later in zip(ramp.seconds, ramp.seconds[1:], strict=False)):
        raise UserError(f"--blend {text!r}: the seconds must grow from one to the next")
    return ramp
