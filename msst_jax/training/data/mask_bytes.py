"""Masks as bytes: how they travel from the input pipeline to the device, in a quarter of the size of floats."""

from typing import Any

import numpy as np

from msst_jax.training.task import Batch

WHOLE = 255  # the sum of the bytes at a pixel


def to_bytes(masks: np.ndarray) -> np.ndarray:
    """Masks (..., K) that sum to 1, or to 0 where nothing is known, as uint8 that sum to 255, or to 0.

    The running sums are rounded and not the masks, so that the sum is exact. What is a multiple of 1/255 stays so.
    """
    sums = np.rint(np.cumsum(np.maximum(masks, 0), -1) * WHOLE)
    return np.diff(sums, prepend=0).astype(np.uint8)


def with_float_masks(batch: Batch) -> dict[str, Any]:
    """A batch, of NumPy or JAX, with "masks" in [0, 1], float32; without masks, or with those of floats, it stays."""
    masks = batch.get("masks")
    if masks is None or masks.dtype != np.uint8:
        return {**batch}
    return {**batch, "masks": masks.astype(np.float32) / np.float32(WHOLE)}
