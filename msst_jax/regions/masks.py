"""Region masks: composes (H, W, K) masks with sum 1 at every pixel; their typed options."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from msst_jax.errors import UserError
from msst_jax.regions.points import Point
from msst_jax.registry import BACKGROUND

MAX_UNCLAIMED = 0.001  # area fraction that may lie in no region: rounding at the masks' edges


def foreground(names: Iterable[str]) -> list[str]:
    """The regions but the background, in order."""
    return [name for name in names if name != BACKGROUND]


def all_masked(regions: Collection[str], masked: Iterable[str]) -> bool:
    """Whether every region but the background has a mask, so that none is segmented; false without regions."""
    return bool(regions) and set(foreground(regions)) <= set(masked)


@dataclass(frozen=True)
class MaskOptions:
    """How region masks are computed, for photos and video frames alike.

    Attributes:
      hard: one-hot masks: every pixel belongs to exactly one region.
      feather: sigma of the Gaussian that softens edges, in percent of the longest side; 0 = none.
      min_speck: percent of the photo; smaller components and holes of segmented regions are removed.
      refine_edges: snap the edges of segmented regions to those of the photo.
    """

    hard: bool = False
    feather: float = 0.0
    min_speck: float = 0.0
    refine_edges: bool = True

    def claimed(self, given: Any) -> Any:
        """What the given masks leave to no segmented region, from their sum: a NumPy or JAX array of any shape.

        With `hard`, a pixel that goes to a given mask in the end is claimed wholly.
        """
        claimed = given.clip(0, 1)
        return (claimed >= 0.5).astype(np.float32) if self.hard else claimed

    def feather_sigma(self, size: tuple[int, int]) -> float:
        """The sigma of `feather` in pixels, for a photo of `size` (width, height)."""
        return self.feather / 100 * max(size)


@dataclass(frozen=True)
class MaskSpec:
    """The regions and the source of each mask, for photos and video frames alike.

    Attributes:
      names: of the regions, in order.
      given: the regions whose masks come from the user.
      options: see `MaskOptions`.
      points: of a photo: of a region that has one, only the component there is taken.
    """

    names: tuple[str, ...]
    given: tuple[str, ...]
    options: MaskOptions
    points: tuple[Point, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The regions that need a segmenter: without a given mask, and not the background."""
        return tuple(name for name in foreground(self.names) if name not in self.given)

    def origin(self, name: str) -> str:
        """The source of a region's mask: "mask", "segmenter", or "rest" (what no other region claims)."""
        return "mask" if name in self.given else "rest" if name == BACKGROUND else "segmenter"

    def finish(self, masks: np.ndarray, *, strict: bool = True) -> np.ndarray:
        """Applies the options to masks (H, W, K) of sum 1: makes them one-hot if `hard`, then feathers them.

        Raises:
          UserError: if strict, a region that is empty in the one-hot masks.
        """
        if self.options.hard:
            masks = to_one_hot(masks)
            if strict:
                check_coverage(masks, self.names)
        return feather(masks, self.options.feather_sigma(masks.shape[1::-1]))


def compose_masks(
    masks: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    strict: bool = True,
    shape: tuple[int, ...] = (),
) -> np.ndarray:
    """Stacks masks to float32 (H, W, K) in the order of `names`, normalized to sum 1 at every pixel.

    "background", unless it has a mask of its own, is what no other region claims. Overlapping regions share the pixel.

    Args:
      masks: {name: (H, W)} in [0, 1].
      names: the regions of the result.
      strict: every region must have a mask, and every pixel a region. Else a region without a mask is empty;
        "background" must be among the names, its own mask is ignored, and it gets all that no other region claims.
      shape: (H, W), needed if there are no masks.

    Raises:
      UserError: if strict, a region without a mask, an empty region, or pixels that no region claims.
    """
    shape = next((mask.shape for mask in masks.values()), shape)
    return _compose_strict(masks, names, shape) if strict else _compose_leniently(masks, names, shape)


def _compose_strict(masks: Mapping[str, np.ndarray], names: Sequence[str], shape: tuple[int, ...]) -> np.ndarray:
    known = [*masks, *([] if BACKGROUND in masks else [BACKGROUND])]
    for name in names:
        if name not in known:
            raise UserError(
                f"there is no region {name!r}; regions are {', '.join(known)}: "
                f"correct the name or give --mask {name}=FILE"
            )
    claimed = {name: masks[name] for name in names if name in masks}
    if BACKGROUND in names and BACKGROUND not in masks:
        if not claimed:
            return np.ones((*shape, 1), np.float32)
        claimed[BACKGROUND] = np.clip(1 - sum(claimed.values()), 0, 1)
    stacked = np.stack([claimed[name] for name in names], -1).astype(np.float32)
    check_coverage(stacked, names)
    return _normalize_sum(stacked)


def _compose_leniently(masks: Mapping[str, np.ndarray], names: Sequence[str], shape: tuple[int, ...]) -> np.ndarray:
    """Works on whole planes: NumPy is several times slower along a last axis of two or three regions."""
    empty = np.zeros(shape, np.float32)
    planes: dict[str, np.ndarray] = {name: np.asarray(masks.get(name, empty), np.float32) for name in names}
    planes[BACKGROUND] = empty
    scale = np.maximum(sum(planes.values()), 1)
    planes = {name: plane / scale for name, plane in planes.items()}
    planes[BACKGROUND] = 1 - np.asarray(sum(planes.values()), np.float32)
    return np.stack([planes[name] for name in names], -1)


def check_coverage(stacked: np.ndarray, names: Sequence[str]) -> None:
    """Raises UserError if one of the masks (H, W, K) is empty, or pixels lie in no region."""
    for index, name in enumerate(names):
        if stacked[..., index].max() <= 0.5:  # nowhere more its own than others'
            fractions = dict(zip(names, area_fractions(stacked), strict=True))
            others = {other: fraction for other, fraction in fractions.items() if other != name}
            reason = (
                f"the other regions leave nothing for it ({format_fractions(others)})" if others else "its mask is dark"
            )
            raise UserError(f"region {name!r} is empty: {reason}; leave its --style out")
    unclaimed = float(np.mean(stacked.sum(-1) < 0.5))
    if unclaimed > MAX_UNCLAIMED:
        advice = "paint the masks larger" if BACKGROUND in names else f"add --style {BACKGROUND}=FILE"
        raise UserError(f"{unclaimed:.1%} of the photo lies in no region ({', '.join(names)}); {advice}")


def _normalize_sum(stacked: np.ndarray) -> np.ndarray:
    """Divides masks (H, W, K) by their sum; pixels that no region claims go to the last one."""
    total = stacked.sum(-1, keepdims=True)
    stacked = np.where(total > 1e-6, stacked / np.maximum(total, 1e-6), 0)
    stacked[..., -1] += (total[..., 0] <= 1e-6).astype(np.float32)
    return stacked.astype(np.float32)


def to_one_hot(masks: np.ndarray) -> np.ndarray:
    """The argmax over regions of masks (H, W, K), one-hot."""
    return np.eye(masks.shape[-1], dtype=np.float32)[np.argmax(masks, -1)]


def feather(masks: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs masks (H, W, K) by a Gaussian of `sigma` pixels; they still sum to 1."""
    if sigma <= 0:
        return masks
    return _normalize_sum(ndimage.gaussian_filter(masks, (sigma, sigma, 0), mode="nearest"))


def area_fractions(masks: np.ndarray) -> list[float]:
    """The fraction of the image that each of the masks (H, W, K) covers; they sum to 1."""
    return [float(fraction) for fraction in masks.mean((0, 1), dtype=np.float64)]


def format_fractions(fractions: Mapping[str, float]) -> str:
    """ "background 62%, cat 30%, sofa 8%"."""
    return ", ".join(f"{name} {format_percent(fraction)}" for name, fraction in fractions.items())


def format_percent(fraction: float) -> str:
    """0.3 to "30%"; "<1%" for what rounds to 0%."""
    return f"{fraction:.0%}" if fraction >= 0.005 else "<1%"
