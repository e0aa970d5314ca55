"""Masks as a caller has them: arrays, Pillow pictures or paths, checked and brought to the size of the result."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from msst_jax.api.pictures import PictureLike, Size, given_path, is_array, resize_floats
from msst_jax.errors import UserError, nearest_or_all
from msst_jax.io.array_checks import check_unit_range, is_floating
from msst_jax.regions.mask_files import StoredMask, decode_mask, read_mask, scaled_mask
from msst_jax.regions.masks import format_percent

MAX_OVERLAP = 0.01  # area fraction that regions may claim together: where soft or painted edges meet
MAX_SUM = 1.25  # beyond it pixels are claimed together
INSIDE = 0.5


def take_masks(masks: Any, regions: Any, photo_size: Size, size: Size) -> dict[str, np.ndarray]:
    """{region: float32 (H, W) in [0, 1]} at a (width, height).

    Args:
      masks: as the caller gave them; None = none.
      regions: those that can have one.
      photo_size: (width, height) of the photo as it was given.
      size: that of the result.

    Raises:
      UserError: no mapping, a region that is none, masks of which one is wrong or empty, or that lie over each other.
    """
    if masks is None:
        return {}
    if not isinstance(masks, Mapping):
        raise UserError(f"masks is of the type {type(masks).__name__}; give {{region: mask}}")
    known = list(regions)
    for name in masks:
        if name not in known:
            raise UserError(f"masks has the region {name!r}, which has no style; {nearest_or_all(str(name), known)}")
    taken = {name: _take_mask(mask, f"masks[{name!r}]", photo_size, size) for name, mask in masks.items()}
    _check_overlap(taken)
    return taken


def _take_mask(value: PictureLike, what: str, photo_size: Size, size: Size) -> np.ndarray:
    """One mask; an array must be as large as the photo or the result, a picture is stretched."""
    if isinstance(value, str | os.PathLike):
        return read_mask(given_path(value, what), photo_size, size)
    if isinstance(value, Image.Image):
        return scaled_mask(decode_mask(value, what), what, photo_size, size)
    if not is_array(value):
        raise UserError(f"{what} is of the type {type(value).__name__}; give an array, a Pillow picture or a path")
    values = np.asarray(value)
    _check_size(values.shape, what, photo_size, size)
    if is_floating(values):
        check_unit_range(values, what)
    elif values.dtype != bool and (values.max() > 1 or values.min() < 0):
        return scaled_mask(StoredMask(_as_uint8(values, what)), what, photo_size, size)
    mask = resize_floats(np.clip(values.astype(np.float32), 0, 1), size)
    if mask.max() < INSIDE:
        raise UserError(f"{what} is empty: its largest value is {mask.max():g}, and 1 is inside; leave the region out")
    return mask


def _check_size(shape: tuple[int, ...], what: str, photo_size: Size, size: Size) -> None:
    if len(shape) != 2:
        raise UserError(f"{what} has the shape {shape}; give (H, W), a mask of one region")
    if shape[::-1] not in (photo_size, size):
        height, width = photo_size[::-1]
        raise UserError(f"{what} has the shape {shape}; give that of the photo, {(height, width)}")


def _as_uint8(values: np.ndarray, what: str) -> np.ndarray:
    if values.dtype.kind not in "iu":
        raise UserError(f"{what} has the dtype {values.dtype}; give bool, floats in [0, 1] or uint8 (255 = inside)")
    if values.min() < 0 or values.max() > 255:
        raise UserError(f"{what} has values from {values.min()} to {values.max()}; give 0 to 255, or floats in [0, 1]")
    return values.astype(np.uint8)


def _check_overlap(masks: Mapping[str, np.ndarray]) -> None:
    """Raises UserError if masks claim the same pixels, but for where their edges meet."""
    names = list(masks)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            both = float(((masks[name] > INSIDE) & (masks[other] > INSIDE)).mean())
            if both > MAX_OVERLAP:
                raise UserError(
                    f"masks[{name!r}] and masks[{other!r}] both have {format_percent(both)} of the photo inside, where "
                    "their sum is above 1; take it out of one of them"
                )
    together = float((np.stack([*masks.values()]).sum(0) > MAX_SUM).mean()) if masks else 0.0
    if together > MAX_OVERLAP:
        listed = ", ".join(f"masks[{name!r}]" for name in names)
        raise UserError(
            f"the sum of {listed} is above 1 in {format_percent(together)} of the photo; let it be at most 1 everywhere"
        )
