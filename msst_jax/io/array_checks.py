"""Checks of arrays that are images or masks: their dtype, range and shape."""

from typing import Any

import numpy as np

from msst_jax.errors import UserError

TOLERANCE = 1e-3  # what resampling and half precision leave beyond [0, 1]
SUM_TOLERANCE = 1e-2  # of masks


def check_image(values: Any, what: str) -> None:
    """Raises UserError unless `values` are an image: finite floats (H, W, 3) in [0, 1]. `what` names them in errors."""
    check_image_shape(np.shape(values), what)
    check_unit_range(np.asarray(values), what)


def check_image_shape(shape: tuple[int, ...], what: str) -> None:
    """Raises UserError unless a shape is (H, W, 3); says what is likely to be meant."""
    if len(shape) == 3 and shape[-1] == 3:
        return
    advice = "give (H, W, 3)"
    if len(shape) == 4:
        advice = "give one picture at a time, (H, W, 3)"
    elif len(shape) == 3 and shape[0] == 3:
        advice = "move the channels to the end, (H, W, 3)"
    elif len(shape) == 3 and shape[-1] == 4:
        advice = "leave its opacity out, (H, W, 3)"
    elif len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1):
        advice = "repeat the gray values in three channels, (H, W, 3)"
    raise UserError(f"{what} has the shape {shape}; {advice}")


def check_unit_range(values: np.ndarray, what: str) -> None:
    """Raises UserError unless `values` are finite floats in [0, 1]; `what` names them in errors."""
    if not is_floating(values):
        raise UserError(f"{what} has the dtype {values.dtype}; give floats in [0, 1]: divide by 255 if white is 255")
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(
            f"{what} has {np.count_nonzero(~np.isfinite(numbers))} values that are NaN or infinite; replace them"
        )
    if not numbers.size:
        raise UserError(f"{what} has the shape {values.shape} and no values; check how it was cut")
    if numbers.max() > 1 + TOLERANCE:
        raise UserError(f"{what} has values up to {numbers.max():g}, and floats are in [0, 1]: divide by 255")
    if numbers.min() < -TOLERANCE:
        raise UserError(f"{what} has values down to {numbers.min():g}, and floats are in [0, 1]: clip or rescale them")


def is_floating(values: np.ndarray) -> bool:
    """Whether an array is of floats, those of JAX's own types included, which NumPy does not know as floats."""
    return values.dtype.kind == "f" or "float" in values.dtype.name


def check_partition(masks: Any, size: tuple[int, int], regions: int, what: str) -> None:
    """Raises UserError unless `masks` are floats (H, W, K) in [0, 1] that sum to 1 at every pixel.

    Args:
      masks: of all regions.
      size: (H, W) of their photo.
      regions: K.
      what: names them in errors.
    """
    if np.shape(masks) != (*size, regions):
        raise UserError(f"{what} have the shape {np.shape(masks)}; of {regions} regions it is {(*size, regions)}")
    check_unit_range(np.asarray(masks), what)
    sums = np.asarray(masks, np.float32).sum(-1)
    worst = float(sums.flat[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > SUM_TOLERANCE:
        raise UserError(f"{what} sum to {worst:g} at a pixel; divide them by their sum, so that it is 1 everywhere")
