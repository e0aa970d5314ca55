"""Frames of a clip through a trained fast model: regions, styles and composite in one program on the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from msst_jax import images
from msst_jax.blend_ramp import BlendRamp
from msst_jax.clip_pipeline import Batch, Painter
from msst_jax.clip_regions import Layout, State, frame_masks, initial_state
from msst_jax.fast import FastModel
from msst_jax.losses import composite
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.segmenters import Segmenter, Size

BATCH_PIXELS = 2**21  # frames are painted together up to so many pixels
LARGEST_BATCH = 16


def batch_of(size: Size, every: int) -> int:
    """How many frames of a (width, height) are painted together: the network looks at every `every`-th of them."""
    most = min(LARGEST_BATCH, max(1, BATCH_PIXELS // (size[0] * size[1])))
    if every <= most:
        return most // every * every
    return max(count for count in range(1, most + 1) if every % count == 0)


def keys_of(number: int, batch: int, every: int) -> tuple[int, ...]:
    """Which frames of a batch the network looks at."""
    return tuple(index for index in range(batch) if (number * batch + index) % every == 0)


def fast_painter(
    model: FastModel, segmenter: Segmenter | None, layout: Layout, ramp: BlendRamp, *, batch: int, every: int
) -> Painter:
    """Paints batches with a fast model.

    Args:
      model: the network and its regions, which are those of the layout.
      segmenter: finds regions; None if all are given.
      layout: see `clip_regions.layout_of`.
      ramp: the blend ratio over time.
      batch: frames of a batch.
      every: the segmenter looks at every so many-th frame.
    """
    network, finder = nnx.split(model.network), nnx.split(segmenter.model) if segmenter else None
    styles = len(model.regions)

    def paint(work: Batch, state: State) -> tuple[jax.Array, jax.Array, State]:
        times = [moment.time for moment in work.moments]
        times += times[-1:] * (batch - len(times))
        mixtures = jnp.stack([blend_mixtures(styles, ramp.at(time)) for time in times])
        program = _program(network[0], finder[0] if finder else None, layout, keys_of(work.number, batch, every))
        return program(network[1], finder[1] if finder else None, work.images, work.given, mixtures, state)

    return Painter(initial_state(layout), paint)


@functools.cache
def _program(
    network: nnx.GraphDef, finder: nnx.GraphDef | None, layout: Layout, keys: tuple[int, ...]
) -> Callable[..., tuple[jax.Array, jax.Array, State]]:
    """The jitted call; one for each pattern of frames that the segmenter looks at."""

    def paint(
        weights: Any, finder_weights: Any, frames: jax.Array, given: jax.Array, mixtures: jax.Array, state: State
    ) -> tuple[jax.Array, jax.Array, State]:
        photos = frames.astype(jnp.float32) / 255
        found_by = nnx.merge(finder, finder_weights) if finder is not None else None
        masks, state = frame_masks(layout, found_by, photos, given.astype(jnp.float32) / 255, state, keys)
        styled = nnx.merge(network, weights)(images.normalize(photos), mixtures)
        results = jax.vmap(composite)(styled, masks)
        return to_bytes(results), masks.mean((1, 2)), state

    return jax.jit(paint)


def to_bytes(pictures: jax.Array) -> jax.Array:
    """Pictures in [0, 1] (values outside are clipped) as uint8; see `images.to_picture`."""
    return jnp.round(jnp.clip(pictures, 0, 1) * 255).astype(jnp.uint8)
