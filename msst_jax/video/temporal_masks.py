"""Region masks of video frames: segmented on the device, blended over time along the flow against flicker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.ops.guided_filter import EPS, build_guide, default_radius, guided_filter
from msst_jax.ops.image import normalize, resize
from msst_jax.ops.optical_flow import warp
from msst_jax.regions.masks import BACKGROUND, MaskSpec, foreground
from msst_jax.regions.region_names import region_classes
from msst_jax.regions.segmenter import AnySegmenter, Network, Segmenter, Size
from msst_jax.video.frame_order import ONE_DEVICE, FrameOrder
from msst_jax.video.temporal import Motion, blend_recursive, estimate_motion, flow_grid

TRUNCATE = 4.0  # standard deviations after which a Gaussian ends, as in scipy.ndimage

MaskState = Mapping[str, jax.Array]
"""What one frame passes to the next: "photo" (h, w, 3), "masks" (h, w, R), "trust" (h, w, 1), the confidence in them
since the last key frame, and "seen", whether there was a frame."""

KeyFrames = tuple[int, ...]
"""The frames of a batch that the segmenter runs on."""


@dataclass(frozen=True)
class FrameMaskSpec:
    """How the masks (H, W, K) of a frame are computed; all of it is known before the first frame.

    Attributes:
      masks: regions and options, as for a photo; one of the regions is "background".
      size: (width, height) of the frames.
      segmented: the R regions that the segmenter finds.
      groups: for each of them, the indices of the scores that it joins.
      scales: (width, height)s at which the segmenter sees a frame.
      grid: (width, height) at which masks are smoothed, finer than any segmenter's own.
      smoothing: share of the previous frame's mask that stays where the image did not change, below 1.
    """

    masks: MaskSpec
    size: Size
    segmented: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    scales: tuple[Size, ...]
    grid: Size
    smoothing: float


def build_mask_spec(masks: MaskSpec, segmenter: AnySegmenter | None, size: Size, smoothing: float) -> FrameMaskSpec:
    """The specification for frames of a size.

    Args:
      masks: regions and options.
      segmenter: None if no region is missing.
      size: (width, height) of the frames.
      smoothing: see `FrameMaskSpec`.

    Raises:
      UserError: a region that is no class, or a frame that the segmenter cannot see.
    """
    segmented = masks.missing if segmenter else ()
    classes, known = (segmenter.classes, segmenter.predicted) if segmenter else ((), ())
    groups = region_classes(segmented, classes)
    return FrameMaskSpec(
        masks=masks,
        size=size,
        segmented=segmented,
        groups=tuple(tuple(known.index(classes[index]) for index in groups[name]) for name in segmented),
        scales=tuple(scale(size) for scale in segmenter.scales) if isinstance(segmenter, Segmenter) else (),
        grid=flow_grid(size),
        smoothing=smoothing,
    )


def key_frames(number: int, batch: int, every: int) -> KeyFrames:
    """The frames of batch `number`, of `batch` frames, that the segmenter runs on: every `every`-th of the video."""
    return tuple(index for index in range(batch) if (number * batch + index) % every == 0)


def initial_mask_state(spec: FrameMaskSpec) -> MaskState:
    """The state before the first frame."""
    width, height = spec.grid
    masks = jnp.zeros((height, width, len(spec.segmented)))
    trust = jnp.ones((height, width, 1))
    return {"photo": jnp.zeros((height, width, 3)), "masks": masks, "trust": trust, "seen": jnp.asarray(False)}


def frame_masks(
    spec: FrameMaskSpec,
    network: Network | jax.Array | None,
    photos: jax.Array,
    given: jax.Array,
    last: MaskState,
    keys: KeyFrames,
    is_key: jax.Array | None = None,
    order: FrameOrder = ONE_DEVICE,
) -> tuple[jax.Array, Motion, MaskState]:
    """Masks (N, H, W, K), sum 1 at every pixel, of N consecutive frames; to be jitted.

    Where several devices share a batch, the frames are those of the device, and the states those of the whole batch.

    Args:
      spec: see `FrameMaskSpec`.
      network: the segmenter's, or what was found in the n key frames, probabilities (n, h, w, R) on the grid; None if
        there is nothing to segment.
      photos: (N, H, W, 3) in [0, 1].
      given: (N, H, W, G) in [0, 1], in the order of `spec.masks.given`.
      last: the state after the previous frame.
      keys: the frames that the network runs on; in the others the masks follow the motion. The very first frame of a
        video must be one.
      is_key: (N,), of those frames the ones whose masks are new, where that is not all of them; None = it is.
      order: of the frames.

    Returns:
      The masks, the motion (with no confidence in the first frame of a video), and the state after the last frame.
    """
    width, height = spec.grid
    small = resize(photos, height, width)
    motion = estimate_motion(small, last["photo"], order)
    motion = motion._replace(confidences=motion.confidences.at[0].mul(order.follows(last["seen"])))
    segmented, trust = jnp.zeros((len(photos), height, width, 0)), last["trust"]
    if spec.segmented:
        assert network is not None
        if is_key is None:
            is_key = jnp.asarray([index in keys for index in range(len(photos))])
        confidences, trust = _confidence_since_keys(motion, last["trust"], is_key, order)
        weights = jnp.where(is_key[:, None, None], spec.smoothing * confidences, 1.0)
        new = _segment_keys(spec, network, photos, keys)
        segmented = blend_recursive(motion.flows, weights, last["masks"], new, order)
    state = {"photo": order.last(small), "masks": order.last(segmented), "trust": trust, "seen": jnp.asarray(True)}
    segmented = resize(segmented, *photos.shape[1:3]) if spec.segmented else jnp.zeros((*photos.shape[:3], 0))
    if spec.masks.options.refine_edges and spec.segmented:
        segmented = jax.lax.map(lambda pair: _refine_masks(*pair), (segmented, photos))
    sigma = spec.masks.options.feather_sigma(spec.size)
    return _feather(_stack_masks(spec, given, segmented), sigma), motion, state


def _segment_keys(spec: FrameMaskSpec, network: Network | jax.Array, photos: jax.Array, keys: KeyFrames) -> jax.Array:
    """Probabilities (N, h, w, R) on the grid; 0 where the network does not run."""
    width, height = spec.grid
    probabilities = jnp.zeros((len(photos), height, width, len(spec.segmented)))
    if keys:
        seen = photos[np.array(keys)]
        at_keys = network if isinstance(network, jax.Array) else _probabilities(spec, network, seen)
        probabilities = probabilities.at[np.array(keys)].set(at_keys)
    return probabilities


def _confidence_since_keys(
    motion: Motion, last: jax.Array, is_key: jax.Array, order: FrameOrder
) -> tuple[jax.Array, jax.Array]:
    """Confidence in the masks that are warped to each frame: the least of the flow's since the last key frame.

    What came into view in between is in no mask, however well the motion explains it afterwards.

    Args:
      motion: of N frames.
      last: (h, w, 1), after the previous frame.
      is_key: (N,), whether the masks of the frame are new.
      order: of the frames.

    Returns:
      (N, h, w) before the network runs, and (h, w, 1) after the last frame.
    """

    def follow(last: jax.Array, frame: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        flow, confidence, key = frame
        least = jnp.minimum(warp(last, flow), confidence[..., None])
        return jnp.where(key, 1.0, least), least[..., 0]

    last, confidences = order.scan(follow, last, (motion.flows, motion.confidences, is_key))
    return confidences, last


def _probabilities(spec: FrameMaskSpec, network: Network, photos: jax.Array) -> jax.Array:
    """Of the segmented regions, (N, h, w, R) on the grid; see `class_probabilities`."""
    width, height = spec.grid
    scores: Any = 0.0
    for scale_width, scale_height in spec.scales:
        seen = network(normalize(resize(photos, scale_height, scale_width)))
        shape = (len(photos), height, width, seen.shape[-1])
        scores = scores + jax.image.resize(seen, shape, "linear", antialias=False) / len(spec.scales)
    probabilities = jax.nn.softmax(scores)
    return jnp.stack([probabilities[..., np.array(group)].sum(-1) for group in spec.groups], -1)


def _refine_masks(masks: jax.Array, photo: jax.Array) -> jax.Array:
    """See `guided_filter.refine_edges`: masks (H, W, R) of a photo (H, W, 3)."""
    radius = default_radius(photo.shape)
    guide = build_guide(photo, radius, EPS)
    filtered = [guided_filter(guide, masks[..., index], radius) for index in range(masks.shape[-1])]
    return jnp.clip(jnp.stack(filtered, -1), 0, 1)


def _stack_masks(spec: FrameMaskSpec, given: jax.Array, segmented: jax.Array) -> jax.Array:
    """All regions in order, (N, H, W, K) of sum 1: given masks, then segmented ones, then background.

    As `regions.masks.compose_masks` with strict=False and `MaskSpec.finish` do on the host, here within the compiled
    step of a frame.
    """
    names, hard = spec.masks.names, spec.masks.options.hard
    segmented = segmented * (1 - spec.masks.options.claimed(given.sum(-1, keepdims=True)))
    parts: Mapping[str, jax.Array] = {
        **{name: given[..., index] for index, name in enumerate(spec.masks.given)},
        **{name: segmented[..., index] for index, name in enumerate(spec.segmented)},
    }
    nothing = jnp.zeros(given.shape[:3])
    others = jnp.stack([parts.get(name, nothing) for name in foreground(names)] or [nothing], -1)
    others = others / jnp.maximum(others.sum(-1, keepdims=True), 1)
    rest = names.index(BACKGROUND)
    columns = [others[..., index] for index in range(len(names) - 1)]
    columns.insert(rest, 1 - others.sum(-1))
    stacked = jnp.stack(columns, -1)
    return jax.nn.one_hot(stacked.argmax(-1), len(names)) if hard else stacked


def _feather(masks: jax.Array, sigma: float) -> jax.Array:
    """As `regions.masks.feather`: a Gaussian of `sigma` pixels, the border repeated; it keeps the sum."""
    if sigma <= 0:
        return masks
    reach = round(TRUNCATE * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        length = masks.shape[axis]
        padding = [(reach, reach) if other == axis else (0, 0) for other in range(4)]
        padded = jnp.pad(masks, padding, mode="edge")
        masks = sum(
            float(weight) * jax.lax.slice_in_dim(padded, shift, shift + length, axis=axis)
            for shift, weight in enumerate(weights)
        )  # type: ignore[assignment]
    return masks
