"""Video frames through a feed-forward model: masks and network in one compiled call a batch.

Several devices share a batch: each has an equal part of its frames, which follow each other, and runs all networks on
these alone. Only what a frame takes over from the one before is handed on, see `frame_order`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.ops.batch_split import SHARE, WHOLE, BatchSplit, split_batch
from msst_jax.ops.device_split import place_everywhere
from msst_jax.ops.image import normalize, to_uint8
from msst_jax.regions.segmenter import AnySegmenter, Size
from msst_jax.runtime.memory import available_accelerator_memory
from msst_jax.transfer.feedforward import MAX_BATCH_PIXELS
from msst_jax.transfer.options import TemporalOptions
from msst_jax.video.batching import FrameBatch
from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.frame_order import FrameOrder
from msst_jax.video.key_segmentation import found_by, key_segmenter
from msst_jax.video.streaming import FrameStylizer
from msst_jax.video.temporal import blend_recursive
from msst_jax.video.temporal_masks import FrameMaskSpec, KeyFrames, frame_masks, initial_mask_state, key_frames

MAX_BATCH = 16
# Where an accelerator says how much of its memory is free, batches take a part of that, up to a length from which on
# longer ones hardly pay: its launches are shared by some frames already, and the host holds several batches.
MAX_ACCELERATOR_BATCH = 32
FREE_SHARE = 0.5
# Twice what XLA plans for the built-in model on an H100: 0.744 GB for 8 frames of 512x512. The rest is for networks
# that are wider, and for the workspaces of convolutions.
BYTES_OF_A_PIXEL = 700


def frames_per_batch(sizes: Sequence[Size], every: int, free: int | None = None) -> int:
    """How many frames share a batch, where networks see each of them at (width, height)s and `every`-th is a key frame.

    Key frames lie at the same places of every batch, or every so many batches, so that few programs are compiled.
    With `free` bytes of an accelerator's memory it is as many frames as without, or more.
    """
    pixels = max(width * height for width, height in sizes)
    most = min(MAX_BATCH, max(1, MAX_BATCH_PIXELS // pixels))
    if free is not None:
        most = max(most, min(MAX_ACCELERATOR_BATCH, int(FREE_SHARE * free) // (BYTES_OF_A_PIXEL * pixels)))
    if every <= most:
        return most // every * every
    return max(count for count in range(1, most + 1) if every % count == 0)


def frames_of_device(most: int, every: int, devices: int, frames: int | None) -> int:
    """How many frames of a batch each of several devices has, at most `most`, as `frames_per_batch` gives them.

    The `frames` of a video, if it is known how many there are, are divided over batches and devices evenly, so that a
    short one keeps all devices at work. As there, it is a multiple of `every` or less than that.
    """
    if devices == 1 or not frames:
        return most
    batches = math.ceil(frames / (most * devices))
    even = math.ceil(frames / (batches * devices))
    return even if every > most else math.ceil(even / every) * every


def feedforward_stylizer(
    options: TemporalOptions,
    model: FeedforwardModel,
    segmenter: AnySegmenter | None,
    spec: FrameMaskSpec,
    schedule: BlendSchedule,
    batch_size: int | None = None,
    devices: Sequence[jax.Device] = (),
    frames: int | None = None,
) -> tuple[FrameStylizer, int]:
    """Stylizes batches of frames with a feed-forward model.

    Args:
      options: segment_every and picture_smoothing.
      model: the network and its regions, which are those of the specification.
      segmenter: None if all masks are given.
      spec: see `build_mask_spec`.
      schedule: the blend ratio over time.
      batch_size: frames of a batch, if they divide evenly among the devices; None = as `frames_per_batch` says of each
        device.
      devices: that share a batch; none = the default one.
      frames: of the video, if it is known how many there are; see `frames_of_device`.

    Returns:
      The stylizer, and the number of frames of its batches.
    """
    every, split, count = options.segment_every, split_batch(devices), max(len(devices), 1)
    if batch_size is None or batch_size % count:
        most = frames_per_batch([spec.size, *spec.scales], every, available_accelerator_memory())
        batch_size = count * frames_of_device(most, every, count, frames)
    width, height = spec.size
    network, finder = nnx.split(model.network), key_segmenter(segmenter, spec, split)
    weights, styles = place_everywhere(network[1], split), len(model.regions)

    def stylize(batch: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        times = [timing.time for timing in batch.timings]
        times += times[-1:] * (batch_size - len(times))
        mixtures = jnp.stack([blend_mixtures(styles, schedule.at(time)) for time in times])
        keys = key_frames(batch.number, batch_size, every)
        places = finder.places(keys, batch_size)
        program = compiled_stylizer(network[0], finder.definition, spec, options.picture_smoothing, places, split)
        found = finder.arguments(batch.images, keys)
        is_key = np.isin(np.arange(batch_size), keys) if split else None
        state = place_everywhere(state, split)  # that of an earlier run, and the first one
        return program(weights, found, batch.images, batch.given, mixtures, is_key, state)

    state = {"regions": initial_mask_state(spec), "picture": jnp.zeros((height, width, 3))}
    return FrameStylizer(state, stylize), batch_size


@functools.cache
def compiled_stylizer(
    network: nnx.GraphDef,
    finder: nnx.GraphDef | None,
    spec: FrameMaskSpec,
    smoothing: float,
    places: KeyFrames,
    split: BatchSplit | None = None,
) -> jax.stages.Wrapped:
    """The jitted call that makes a batch of frames; one for each pattern of key frames.

    Args:
      network: of the model.
      finder: of the segmenter, see `KeySegmenter`.
      spec: see `build_mask_spec`.
      smoothing: options.picture_smoothing.
      places: of the key frames, see `KeySegmenter.places`.
      split: how the frames lie on several devices; None = they are on one.
    """
    order = FrameOrder(split.devices if split else 1)

    def stylize(
        weights: Any,
        found: Any,
        frames: jax.Array,
        given: jax.Array,
        mixtures: jax.Array,
        is_key: jax.Array | None,
        state: Any,
    ) -> tuple[jax.Array, jax.Array, Any]:
        photos = frames.astype(jnp.float32) / 255
        given = given.astype(jnp.float32) / 255
        segmenter = found_by(finder, found)
        masks, motion, regions = frame_masks(spec, segmenter, photos, given, state["regions"], places, is_key, order)
        results = nnx.merge(network, weights)(normalize(photos), masks, mixtures)
        if smoothing:
            weight = smoothing * motion.confidences
            results = blend_recursive(motion.flows, weight, state["picture"], results, order)
        return to_uint8(results), masks.mean((1, 2)), {"regions": regions, "picture": order.last(results)}

    if split is None:
        return jax.jit(stylize)
    arguments = (WHOLE, SHARE if finder is None else WHOLE, SHARE, SHARE, SHARE, SHARE, WHOLE)
    shardings = tuple(split.everywhere if where == WHOLE else split.shares for where in arguments)
    return jax.jit(split.of_shares(stylize, arguments, (SHARE, SHARE, WHOLE)), in_shardings=shardings)
