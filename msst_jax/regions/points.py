"""Points as hints: of a region, the component that lies under a pixel of the photo."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.regions.components import label_components, nearest_labels
from msst_jax.registry import BACKGROUND

MIN_PROBABILITY = 0.1  # of the region at its point; below there is nothing of it


class Point(NamedTuple):
    """A pixel of the photo, as it is shown, that lies in a region."""

    region: str
    x: int
    """From the left, from 0."""
    y: int
    """From the top, from 0."""

    @property
    def text(self) -> str:
        """As the user writes it."""
        return f"{self.region}={self.x},{self.y}"

    @property
    def flag(self) -> str:
        """As the user writes it, with the flag."""
        return f"--point {self.text}"

    def scaled(self, photo_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """Its (x, y) where a photo of a (width, height) is resized to another one.

        Raises:
          UserError: it lies outside.
        """
        if not (0 <= self.x < photo_size[0] and 0 <= self.y < photo_size[1]):
            raise UserError(
                f"{self.flag} lies outside the photo of {photo_size[0]}x{photo_size[1]} pixels; give X from 0 to "
                f"{photo_size[0] - 1} and Y from 0 to {photo_size[1] - 1}"
            )
        return int((self.x + 0.5) * size[0] / photo_size[0]), int((self.y + 0.5) * size[1] / photo_size[1])


def scale_points(
    points: Iterable[Point], photo_size: tuple[int, int], size: tuple[int, int]
) -> dict[Point, tuple[int, int]]:
    """{point: as `Point.scaled`}."""
    return {point: point.scaled(photo_size, size) for point in points}


def recorded_points(points: Iterable[Point]) -> dict[str, dict[str, list[int]]]:
    """The part of a sidecar that has them, {"points": {region: [x, y]}}; nothing if there are none."""
    recorded = {point.region: [point.x, point.y] for point in points}
    return {"points": recorded} if recorded else {}


def check_points(points: Iterable[Point], names: Collection[str], masked: Collection[str]) -> None:
    """Raises UserError for points of regions that have no style, or whose place is known without one.

    Args:
      points: of the user's.
      names: the regions that have a style.
      masked: those that have a mask.
    """
    for point in points:
        name = point.region
        if name not in names:
            raise UserError(f"region {name!r} has a point but no style; add --style {name}=FILE or drop its --point")
        if name == BACKGROUND:
            raise UserError(f"{point.flag}: {name} is what no other region claims; drop its --point")
        if name in masked:
            raise UserError(f"region {name!r} has a mask and a point; drop its --mask or its --point")
        if "#" in name:
            raise UserError(f"{point.flag}: a number and a point both say which one; drop its --point or the number")


def pointed_mask(
    probabilities: np.ndarray, channels: Sequence[int], point: Point, at: tuple[int, int], names: Sequence[str]
) -> np.ndarray:
    """The mask, float32 (H, W) in [0, 1], of the component of a region under a point.

    It is made of the 8-connected pixels around the point where the region is at least half as probable as there. The
    point is taken as certain: their probability is divided by that at the point. Around them the mask is as soft as the
    region is uncertain, up to where another component is nearer.

    Args:
      probabilities: (H, W, C).
      channels: of the region.
      point: as the user gave it.
      at: (x, y), the point in pixels of the probabilities.
      names: of the C channels.

    Raises:
      UserError: there is nothing of the region.
    """
    x, y = at
    probability = probabilities[..., list(channels)].sum(-1)
    here = float(probability[y, x])
    if here < MIN_PROBABILITY:
        raise UserError(
            f"{point.flag}: there is no {point.region} at this point, only {_describe(probabilities[y, x], names)}; "
            f"give another point, or --mask {point.region}=FILE in its place"
        )
    labels = label_components(probability >= here / 2)
    around = np.where(nearest_labels(labels) == labels[y, x], probability, 0)
    return np.where(labels == labels[y, x], probability / here, around).clip(0, 1).astype(np.float32)


def _describe(probabilities: np.ndarray, names: Sequence[str]) -> str:
    """ "person 93%, dog 5%": what is probable at a pixel, by its probabilities (C,)."""
    likeliest = [index for index in np.argsort(-probabilities, kind="stable")[:3] if probabilities[index] >= 0.01]
    return ", ".join(f"{names[index]} {probabilities[index]:.0%}" for index in likeliest)
