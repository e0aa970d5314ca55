"""Values of flags of stylize.py as they are typed: rates, times, blend ratios, points."""

import re
from collections.abc import Iterable
from fractions import Fraction

from msst_jax.cli.flags import split_region_files
from msst_jax.errors import UserError
from msst_jax.presets.validation import check_number
from msst_jax.regions.points import Point
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import MAX_RATE, Part


def parse_frame_rate(text: str | None) -> Fraction:
    """ "25", "23.976" or "30000/1001" to frames a second.

    Raises:
      UserError: no number above zero.
    """
    try:
        rate = DEFAULT_RATE if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= MAX_RATE:
        raise UserError(
            f"--rate {text!r} is not a number of frames per second up to {MAX_RATE}; write 25 or 30000/1001"
        )
    return rate


def parse_part(start: str | None, end: str | None) -> Part:
    """What --start and --end say.

    Raises:
      UserError: no times, or an end that is not after the start.
    """
    part = Part(
        Fraction(0) if start is None else _parse_time("start", start),
        None if end is None else _parse_time("end", end),
    )
    if part.end is not None and part.end <= part.start:
        raise UserError(f"--end {end} is not after --start {start or 0}; give a later end")
    return part


def _parse_time(flag: str, text: str) -> Fraction:
    """ "90", "1:30.5" or "00:01:30" to seconds.

    Raises:
      UserError: none of these.
    """
    if not re.fullmatch(r"((\d+:)?[0-5]?\d:)?\d+(\.\d*)?", text):
        raise UserError(f"--{flag} {text!r} is no time in a video; write seconds such as 90.5, or 00:01:30.5")
    seconds = Fraction(0)
    for unit in text.split(":"):
        seconds = 60 * seconds + Fraction(unit)
    return seconds


def parse_blend_ratios(text: str) -> list[float]:
    """ "0,0.2,0.4" to [0.0, 0.2, 0.4].

    Raises:
      UserError: not numbers, negative, or one twice.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--blend {text!r} is not a list of numbers; write for example --blend 0,0.2,0.4") from None
    for ratio in ratios:
        check_number("--blend", ratio)
    if len({f"{ratio:g}" for ratio in ratios}) != len(ratios):
        raise UserError(f"--blend {text!r} names a ratio twice; leave one out")
    return ratios


def parse_points(pairs: Iterable[str]) -> tuple[Point, ...]:
    """["dog=120,80", ...] to the points.

    Raises:
      UserError: not REGION=X,Y, or a region named twice.
    """
    points = []
    for region, text in split_region_files(pairs, "point", "X,Y").items():
        found = re.fullmatch(r"(\d+),(\d+)", text)
        if not found:
            raise UserError(
                f"--point {region}={text} is not NAME=X,Y; write whole pixels of the photo from its top left corner, "
                f"such as --point {region}=120,80"
            )
        points.append(Point(region, int(found[1]), int(found[2])))
    return tuple(points)
