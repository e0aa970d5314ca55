"""Frames of a clip through a trained fast model: regions, styles and composite in one program on the device."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.ops.image import composite, normalize, to_uint8
from msst_jax.regions.segmenter import Segmenter, Size
from msst_jax.video.batching import FrameBatch
from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.streaming import FrameStylizer
from msst_jax.video.temporal import blend_recursive
from msst_jax.video.temporal_masks import KeyFrames, MaskSpec, frame_masks, initial_mask_state, key_frames

MAX_BATCH_PIXELS = 2**21  # frames are painted together up to so many pixels
MAX_BATCH = 16


def frames_per_batch(sizes: Sequence[Size], every: int) -> int:
    """How many frames are painted together: networks see each of them at (width, height)s, one at every `every`-th."""
    most = min(MAX_BATCH, max(1, MAX_BATCH_PIXELS // max(width * height for width, height in sizes)))
    if every <= most:
        return most // every * every
    return max(count for count in range(1, most + 1) if every % count == 0)


def feedforward_stylizer(
    config: ConfigDict, model: FeedforwardModel, segmenter: Segmenter | None, layout: MaskSpec, ramp: BlendSchedule
) -> tuple[FrameStylizer, int]:
    """Paints batches with a fast model.

    Args:
      config: segment_every and picture_smoothing of configs/photo.py.
      model: the network and its regions, which are those of the layout.
      segmenter: finds regions; None if all are given.
      layout: see `build_mask_spec`.
      schedule: the blend ratio over time.

    Returns:
      The painter, and how many frames make a batch of its.
    """
    every, keep = config.segment_every, config.picture_smoothing
    batch = frames_per_batch([layout.size, *layout.scales], every)
    width, height = layout.size
    network, finder = nnx.split(model.network), nnx.split(segmenter.model) if segmenter else None
    styles = len(model.regions)

    def paint(work: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        times = [moment.time for moment in work.timings]
        times += times[-1:] * (batch - len(times))
        mixtures = jnp.stack([blend_mixtures(styles, ramp.at(time)) for time in times])
        program = _compiled_stylizer(
            network[0], finder[0] if finder else None, layout, keep, key_frames(work.number, batch, every)
        )
        return program(network[1], finder[1] if finder else None, work.images, work.given, mixtures, state)

    return FrameStylizer(
        {"regions": initial_mask_state(layout), "picture": jnp.zeros((height, width, 3))}, paint
    ), batch


@functools.cache
def _compiled_stylizer(
    network: nnx.GraphDef, finder: nnx.GraphDef | None, layout: MaskSpec, keep: float, keys: KeyFrames
) -> Callable[..., tuple[jax.Array, jax.Array, Any]]:
    """The jitted call; one for each pattern of frames that the segmenter looks at."""

    def paint(
        weights: Any, finder_weights: Any, frames: jax.Array, given: jax.Array, mixtures: jax.Array, state: Any
    ) -> tuple[jax.Array, jax.Array, Any]:
        photos = frames.astype(jnp.float32) / 255
        found_by = nnx.merge(finder, finder_weights) if finder is not None else None
        regions = state["regions"]
        masks, motion, regions = frame_masks(layout, found_by, photos, given.astype(jnp.float32) / 255, regions, keys)
        styled = nnx.merge(network, weights)(normalize(photos), mixtures)
        results = jax.vmap(composite)(styled, masks)
        if keep:
            results = blend_recursive(motion.flows, keep * motion.confidences, state["picture"], results)
        return to_uint8(results), masks.mean((1, 2)), {"regions": regions, "picture": results[-1]}

    return jax.jit(paint)
