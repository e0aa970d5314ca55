"""Masks as bytes: how they travel from the input pipeline to the device, in a quarter of the size of floats."""

from typing import Any

import numpy as np

from msst_jax.training.task import Batch

WHOLE = 255  # the sum of the bytes at a pixel


def to_bytes(masks: np.ndarray) -> np.ndarray:
    """Masks (..., K) that sum to 1, or to 0 where nothing is known, as uint8 that sum to 255, or to 0.

    The running sums are rounded and not the masks, so that the sum is exact. What is a multiple of 1/255 stays so.
    """
    found = np.empty(masks.shape, np.uint8)
    exact = np.zeros(masks.shape[:-1], np.float32)
    before = np.zeros_like(exact)
    for region in range(masks.shape[-1]):  # whole planes, since NumPy is slow along a short last axis
        exact += np.maximum(masks[..., region], 0)
        after = np.rint(exact * WHOLE)
        found[..., region] = after - before
        before = after
    return found


def with_float_masks(batch: Batch) -> dict[str, Any]:
    """A batch, of NumPy or JAX, with "masks" in [0, 1], float32; without masks, or with those of floats, it stays."""
    masks = batch.get("masks")
    if masks is None or masks.dtype != np.uint8:
        return {**batch}
    return {**batch, "masks": masks.astype(np.float32) / np.float32(WHOLE)}
