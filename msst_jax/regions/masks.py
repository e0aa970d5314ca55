"""Regions of a photo: mask files to masks (H, W, K) that sum to 1 at every pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image
from scipy import ndimage

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture

BACKGROUND = "background"
MAX_UNCLAIMED = 0.001  # share of the photo that may lie in no region: rounding at the masks' edges


def read_mask(path: str | Path, photo_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A mask file (grey, white = inside) at the size of the work: float32 (H, W) in [0, 1].

    Args:
      path: any picture; colour is turned to grey, transparent counts as outside.
      photo_size: (width, height) of the photo's file; a mask of other proportions is stretched, and that is said.
      size: (width, height) wanted.

    Raises:
      UserError: not a picture, or nothing is inside.
    """
    picture = read_picture(path, "mask", backdrop="black").convert("L")
    if picture.size != size and not same_aspect_ratio(picture.size, photo_size):
        logging.warning(
            "mask %s is %dx%d, the photo %dx%d: the mask is stretched to fit", path, *picture.size, *photo_size
        )
    brightest = int(np.asarray(picture).max())
    if brightest < 128:
        found = (
            "is black: nothing is inside" if brightest == 0 else f"is dark: its brightest value is {brightest} of 255"
        )
        raise UserError(f"mask {path} {found}; paint the region white")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    mask = np.asarray(picture, np.float32) / np.float32(255.0)
    if mask.max() < 0.5:
        raise UserError(f"mask {path} is too thin: nothing of it is left at {size[0]}x{size[1]}; paint it larger")
    return mask


def same_aspect_ratio(size: tuple[int, int], photo_size: tuple[int, int]) -> bool:
    """Whether a (width, height) has the photo's proportions, but for the rounding of a side."""
    larger, smaller = sorted((size, photo_size), reverse=True)
    scale = smaller[0] / larger[0]
    return abs(larger[1] * scale - smaller[1]) < 1


def combine(masks: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Masks by name to float32 (H, W, K) in the order of `names`, sum 1 at every pixel.

    "background", unless it has a mask of its own, is what no other region claims. Where regions
    overlap they share the pixel.

    Args:
      masks: {name: (H, W)} in [0, 1], all of one size.
      names: the regions wanted.

    Raises:
      UserError: a region without a mask, an empty region, or pixels that no region claims.
    """
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
            return np.ones((*_any_shape(masks), 1), np.float32)
        claimed[BACKGROUND] = np.clip(1 - sum(claimed.values()), 0, 1)
    stacked = np.stack([claimed[name] for name in names], -1).astype(np.float32)
    check_coverage(stacked, names)
    return _normalize_sum(stacked)


def _any_shape(masks: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    return next(iter(masks.values())).shape


def check_coverage(stacked: np.ndarray, names: Sequence[str]) -> None:
    """Raises UserError if one of the masks (H, W, K) is empty, or pixels lie in none of them."""
    for index, name in enumerate(names):
        if stacked[..., index].max() < 0.5:
            others = {
                other: share for other, share in zip(names, area_fractions(stacked), strict=True) if other != name
            }
            found = (
                f"the other regions leave nothing for it ({format_fractions(others)})" if others else "its mask is dark"
            )
            raise UserError(f"region {name!r} is empty: {found}; leave its --style out")
    unclaimed = float(np.mean(stacked.sum(-1) < 0.5))
    if unclaimed > MAX_UNCLAIMED:
        advice = "paint the masks larger" if BACKGROUND in names else f"add --style {BACKGROUND}=FILE"
        raise UserError(f"{unclaimed:.1%} of the photo lies in no region ({', '.join(names)}); {advice}")


def _normalize_sum(stacked: np.ndarray) -> np.ndarray:
    """Divides by the sum; a stray pixel that nothing claims goes to the last region."""
    total = stacked.sum(-1, keepdims=True)
    stacked = np.where(total > 1e-6, stacked / np.maximum(total, 1e-6), 0)
    stacked[..., -1] += (total[..., 0] <= 1e-6).astype(np.float32)
    return stacked.astype(np.float32)


def to_one_hot(masks: np.ndarray) -> np.ndarray:
    """Gives every pixel of masks (H, W, K) wholly to its largest region."""
    return np.eye(masks.shape[-1], dtype=np.float32)[np.argmax(masks, -1)]


def feather(masks: np.ndarray, sigma: float) -> np.ndarray:
    """Softens the edges of masks (H, W, K) by a Gaussian of `sigma` pixels; they still sum to 1."""
    if sigma <= 0:
        return masks
    return _normalize_sum(ndimage.gaussian_filter(masks, (sigma, sigma, 0), mode="nearest"))


def area_fractions(masks: np.ndarray) -> list[float]:
    """The share of the picture that each of the masks (H, W, K) covers; they add up to 1."""
    return [float(share) for share in masks.mean((0, 1), dtype=np.float64)]


def complete(found: Mapping[str, np.ndarray], names: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """Masks by name to float32 (H, W, K) of sum 1, where regions may be absent; unlike `combine` it asks for nothing.

    Args:
      found: {name: (H, W) in [0, 1]}; a region that is not there is empty. Where regions overlap they share the pixel.
      names: the regions wanted; "background" is one of them and gets what no other claims.
      shape: (H, W).
    """
    claimed = np.stack([found.get(name, np.zeros(shape, np.float32)) for name in names], -1).astype(np.float32)
    rest = names.index(BACKGROUND)
    claimed[..., rest] = 0
    claimed /= np.maximum(claimed.sum(-1, keepdims=True), 1)
    claimed[..., rest] = 1 - claimed.sum(-1)
    return claimed


def format_fractions(shares: Mapping[str, float]) -> str:
    """ "background 62%, cat 30%, sofa 8%"."""
    return ", ".join(f"{name} {format_percent(share)}" for name, share in shares.items())


def format_percent(share: float) -> str:
    """0.3 to "30%"; what rounds to nothing is "<1%"."""
    return f"{share:.0%}" if share >= 0.005 else "<1%"
