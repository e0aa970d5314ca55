"""Points as a caller has them: {region: (x, y)}, in pixels of the photo."""

from collections.abc import Collection, Mapping
from typing import Any

from msst_jax.api.presets import positive_integer
from msst_jax.errors import UserError
from msst_jax.regions.points import Point, check_points


def take_points(points: Any, regions: Collection[str], masked: Collection[str]) -> tuple[Point, ...]:
    """The points of a call.

    Args:
      points: as the caller gave them; None = none.
      regions: those that have a style.
      masked: those that have a mask.

    Raises:
      UserError: no mapping, no two integers, or a region that can have no point.
    """
    if points is None:
        return ()
    if not isinstance(points, Mapping):
        raise UserError(f"points is of the type {type(points).__name__}; give {{region: (x, y)}}")
    taken = tuple(_take_point(name, value) for name, value in points.items())
    check_points(taken, regions, masked)
    return taken


def _take_point(name: Any, value: Any) -> Point:
    what = f"points[{name!r}]"
    try:
        x, y = value
    except (TypeError, ValueError):
        raise UserError(f"{what} is {value!r}; give (x, y), in pixels of the photo") from None
    return Point(str(name), positive_integer(x, f"x of {what}", 0), positive_integer(y, f"y of {what}", 0))
