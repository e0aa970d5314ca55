"""Regions of the frames of a clip, found on the device and smoothed over time so that their edges do not flicker."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from msst_jax.ops.guided_filter import EPS, build_guide, default_radius, guided_filter
from msst_jax.ops.image import normalize, resize
from msst_jax.ops.optical_flow import warp
from msst_jax.regions.masks import BACKGROUND
from msst_jax.regions.segmenter import Network, Segmenter, Size
from msst_jax.regions.selection import class_indices
from msst_jax.video.temporal import Motion, blend_recursive, estimate_motion, flow_grid

TAIL = 4.0  # standard deviations after which a Gaussian ends, as in scipy.ndimage

MaskState = Mapping[str, jax.Array]
"""What one frame tells the next: "photo" (h, w, 3), "masks" (h, w, R), "trust" (h, w, 1), how much they may be relied
on since the network looked last, and whether there was a frame, "seen"."""

KeyFrames = tuple[int, ...]
"""The frames of a batch that the network looks at."""


class MaskSpec(NamedTuple):
    """How masks (H, W, K) of a frame come about; all of it is known before the first frame.

    Attributes:
      size: (width, height) of the frames.
      names: of the K regions; one of them is "background".
      given: of the regions whose masks come with the frames.
      found: of the R regions that a network finds.
      groups: of each of them the scores that it joins.
      scales: sizes at which the network sees a frame.
      grid: size at which masks are smoothed, which is finer than any network's own.
      smoothing: share of the last frame's mask that stays where the picture did not change, below 1.
      refine: move edges onto those of the frame.
      hard: every pixel goes to one region.
      feather: sigma in pixels.
    """

    size: Size
    names: tuple[str, ...]
    given: tuple[str, ...]
    found: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    scales: tuple[Size, ...]
    grid: Size
    smoothing: float
    refine: bool
    hard: bool
    feather: float


def build_mask_spec(
    config: ConfigDict, names: Sequence[str], given: Sequence[str], segmenter: Segmenter | None, size: Size
) -> MaskSpec:
    """The layout for frames of a size.

    Args:
      config: hard_masks, feather, refine_edges and mask_smoothing of configs/photo.py.
      names: the regions.
      given: those with masks.
      segmenter: finds the others; None if there are none.
      size: (width, height) of the frames.

    Raises:
      UserError: a region that is no class, or a frame that the network cannot see.
    """
    found = tuple(name for name in names if name not in given and name != BACKGROUND) if segmenter else ()
    known = list(segmenter.model.classes) if segmenter else []
    return MaskSpec(
        size=size,
        names=tuple(names),
        given=tuple(given),
        found=found,
        groups=tuple(tuple(known.index(index) for index in class_indices(name)) for name in found),
        scales=tuple(view(size) for view in segmenter.scales) if segmenter else (),
        grid=flow_grid(size),
        smoothing=config.mask_smoothing,
        refine=config.refine_edges,
        hard=config.hard_masks,
        feather=config.feather / 100 * max(size),
    )


def key_frames(number: int, batch: int, every: int) -> KeyFrames:
    """Which frames of a batch the network looks at."""
    return tuple(index for index in range(batch) if (number * batch + index) % every == 0)


def initial_mask_state(layout: MaskSpec) -> MaskState:
    """Before the first frame."""
    width, height = layout.grid
    masks = jnp.zeros((height, width, len(layout.found)))
    trust = jnp.ones((height, width, 1))
    return {"photo": jnp.zeros((height, width, 3)), "masks": masks, "trust": trust, "seen": jnp.asarray(False)}


def frame_masks(
    layout: MaskSpec, network: Network | None, photos: jax.Array, given: jax.Array, last: MaskState, keys: KeyFrames
) -> tuple[jax.Array, Motion, MaskState]:
    """Masks (N, H, W, K), sum 1 at every pixel, of N frames that follow each other; to be jitted.

    Args:
      layout: see `MaskSpec`.
      network: finds regions; None if the layout has none to find.
      photos: (N, H, W, 3) in [0, 1].
      given: (N, H, W, G) in [0, 1], in the order of `layout.given`.
      last: the state after the frame before.
      keys: the frames that the network looks at; in the others the masks follow the motion. The very first frame of a
        clip must be one.

    Returns:
      The masks, the motion (nothing is trusted in the first frame of a clip), and the state after the last frame.
    """
    width, height = layout.grid
    small = resize(photos, height, width)
    motion = estimate_motion(small, last["photo"])
    motion = motion._replace(confidences=motion.confidences.at[0].mul(last["seen"]))
    found, trust = jnp.zeros((len(photos), height, width, 0)), last["trust"]
    if layout.found:
        assert network is not None
        is_key = jnp.asarray([index in keys for index in range(len(photos))])
        trusts, trust = _confidence_since_keys(motion, last["trust"], is_key)
        shares = jnp.where(is_key[:, None, None], layout.smoothing * trusts, 1.0)
        found = blend_recursive(motion.flows, shares, last["masks"], _found_on_grid(layout, network, photos, keys))
    state = {"photo": small[-1], "masks": found[-1], "trust": trust, "seen": jnp.asarray(True)}
    found = resize(found, *photos.shape[1:3]) if layout.found else jnp.zeros((*photos.shape[:3], 0))
    if layout.refine and layout.found:
        found = jax.lax.map(lambda pair: _refine_masks(*pair), (found, photos))
    masks = _feather(layout, _stack_masks(layout, given, found))
    return masks, motion, state


def _found_on_grid(layout: MaskSpec, network: Network, photos: jax.Array, keys: KeyFrames) -> jax.Array:
    """Probabilities (N, h, w, R) on the grid of the layout; 0 where the network does not look."""
    width, height = layout.grid
    probabilities = jnp.zeros((len(photos), height, width, len(layout.found)))
    if keys:
        at_keys = _probabilities(layout, network, photos[np.array(keys)])
        probabilities = probabilities.at[np.array(keys)].set(at_keys)
    return probabilities


def _confidence_since_keys(motion: Motion, last: jax.Array, is_key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How much the masks may be relied on that are carried to each frame: the least trust since the network looked.

    What came into view in between is in no mask, however well the motion explains it afterwards.

    Args:
      motion: of N frames.
      last: (h, w, 1), after the frame before.
      is_key: (N,), whether the network looks at the frame.

    Returns:
      (N, h, w) before the network looks, and (h, w, 1) after the last frame.
    """

    def follow(last: jax.Array, frame: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        flow, trust, looks = frame
        least = jnp.minimum(warp(last, flow), trust[..., None])
        return jnp.where(looks, 1.0, least), least[..., 0]

    last, trusts = jax.lax.scan(follow, last, (motion.flows, motion.confidences, is_key))
    return trusts, last


def _probabilities(layout: MaskSpec, network: Network, photos: jax.Array) -> jax.Array:
    """Of the regions found, (N, h, w, R) on the grid; see `segmentation.class_probabilities`."""
    width, height = layout.grid
    scores: Any = 0.0
    for view_width, view_height in layout.scales:
        seen = network(normalize(resize(photos, view_height, view_width)))
        shape = (len(photos), height, width, seen.shape[-1])
        scores = scores + jax.image.resize(seen, shape, "linear", antialias=False) / len(layout.scales)
    probabilities = jax.nn.softmax(scores)
    return jnp.stack([probabilities[..., np.array(group)].sum(-1) for group in layout.groups], -1)


def _refine_masks(masks: jax.Array, photo: jax.Array) -> jax.Array:
    """See `guided_filter.refine_edges`: masks (H, W, R) of a photo (H, W, 3)."""
    radius = default_radius(photo.shape)
    guide = build_guide(photo, radius, EPS)
    filtered = [guided_filter(guide, masks[..., index], radius) for index in range(masks.shape[-1])]
    return jnp.clip(jnp.stack(filtered, -1), 0, 1)


def _stack_masks(layout: MaskSpec, given: jax.Array, found: jax.Array) -> jax.Array:
    """All regions in order, (N, H, W, K) of sum 1: a given mask comes before what was found, the background last."""
    claimed = jnp.clip(given.sum(-1, keepdims=True), 0, 1)
    if layout.hard:
        claimed = (claimed >= 0.5).astype(jnp.float32)
    found = found * (1 - claimed)
    parts: Mapping[str, jax.Array] = {
        **{name: given[..., index] for index, name in enumerate(layout.given)},
        **{name: found[..., index] for index, name in enumerate(layout.found)},
    }
    nothing = jnp.zeros(given.shape[:3])
    others = jnp.stack([parts.get(name, nothing) for name in layout.names if name != BACKGROUND] or [nothing], -1)
    others = others / jnp.maximum(others.sum(-1, keepdims=True), 1)
    rest = layout.names.index(BACKGROUND)
    columns = [others[..., index] for index in range(len(layout.names) - 1)]
    columns.insert(rest, 1 - others.sum(-1))
    stacked = jnp.stack(columns, -1)
    return jax.nn.one_hot(stacked.argmax(-1), len(layout.names)) if layout.hard else stacked


def _feather(layout: MaskSpec, masks: jax.Array) -> jax.Array:
    """See `regions.feather`; its border repeats, and a Gaussian keeps the sum."""
    if layout.feather <= 0:
        return masks
    reach = round(TAIL * layout.feather)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / layout.feather) ** 2)
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
