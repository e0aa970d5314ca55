"""What frames of a clip take over from the frame before, moved along with the picture."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.io.images import MIN_SIDE
from msst_jax.ops.image import resize
from msst_jax.ops.optical_flow import estimate_flow, flow_confidence, warp
from msst_jax.regions.segmenter import Size

GRID_SIDE = 384  # longest side of the pictures in which motion is sought; see msst_jax/motion.py


class Motion(NamedTuple):
    """Of N frames, each against the one before.

    Attributes:
      flows: (N, h, w, 2), see `estimate_flow`.
      confidences: (N, h, w) in [0, 1], see `flow_confidence`.
    """

    flows: jax.Array
    confidences: jax.Array


def flow_grid(size: Size) -> Size:
    """The (width, height) of the pictures in which motion is sought, for frames of a size."""
    scale = min(1.0, GRID_SIDE / max(size))
    width, height = (max(MIN_SIDE, round(side * scale)) for side in size)
    return width, height


def estimate_motion(frames: jax.Array, before: jax.Array) -> Motion:
    """The motion of frames (N, h, w, 3) in [0, 1] that follow a frame (h, w, 3)."""

    def single(pair: tuple[jax.Array, jax.Array]) -> Motion:
        flow = estimate_flow(*pair)
        return Motion(flow, flow_confidence(*pair, flow))

    return jax.lax.map(single, (jnp.concatenate([before[None], frames[:-1]]), frames))


def blend_recursive(flows: jax.Array, shares: jax.Array, before: jax.Array, new: jax.Array) -> jax.Array:
    """Each frame a mixture of what is new in it and of the mixture before, moved along.

    Args:
      flows: (N, h, w, 2), see `estimate_flow`.
      shares: (N, h, w) in [0, 1], how much of the mixture before stays.
      before: (H, W, C), the mixture of the frame before the first.
      new: (N, H, W, C).

    Returns:
      (N, H, W, C).
    """
    height, width = new.shape[1:3]
    if flows.shape[1:3] != (height, width):
        scale = jnp.array([width / flows.shape[2], height / flows.shape[1]])
        flows = resize(flows, height, width) * scale
        shares = resize(shares[..., None], height, width)[..., 0]

    def follow(last: jax.Array, frame: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        flow, share, image = frame
        mixture = share[..., None] * warp(last, flow) + (1 - share[..., None]) * image
        return mixture, mixture

    return jax.lax.scan(follow, before, (flows, shares, new))[1]
