"""Flow-warped recursive smoothing: what a frame takes over from the previous one, warped along the optical flow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.io.images import MIN_SIDE
from msst_jax.ops.image import resize
from msst_jax.ops.optical_flow import estimate_flow, flow_confidence, warp
from msst_jax.regions.segmenter import Size
from msst_jax.video.frame_order import ONE_DEVICE, FrameOrder

GRID_SIDE = 384  # longest side at which optical flow is estimated; see ops/optical_flow.py


class Motion(NamedTuple):
    """Optical flow of N frames, each against the previous one.

    Attributes:
      flows: (N, h, w, 2), see `estimate_flow`.
      confidences: (N, h, w) in [0, 1], see `flow_confidence`.
    """

    flows: jax.Array
    confidences: jax.Array


def flow_grid(size: Size) -> Size:
    """The (width, height) at which optical flow is estimated, for frames of a size."""
    scale = min(1.0, GRID_SIDE / max(size))
    width, height = (max(MIN_SIDE, round(side * scale)) for side in size)
    return width, height


def estimate_motion(frames: jax.Array, previous: jax.Array, order: FrameOrder = ONE_DEVICE) -> Motion:
    """The motion of frames (N, h, w, 3) in [0, 1] of a batch that follows the frame `previous` (h, w, 3)."""

    def single(pair: tuple[jax.Array, jax.Array]) -> Motion:
        flow = estimate_flow(*pair)
        return Motion(flow, flow_confidence(*pair, flow))

    return jax.lax.map(single, (order.predecessors(frames, previous), frames))


def blend_recursive(
    flows: jax.Array, weights: jax.Array, previous: jax.Array, new: jax.Array, order: FrameOrder = ONE_DEVICE
) -> jax.Array:
    """Recursive smoothing: y_t = w_t * warp(y_(t-1), flow_t) + (1 - w_t) * x_t.

    Args:
      flows: (N, h, w, 2), see `estimate_flow`.
      weights: (N, h, w) in [0, 1], how much of the warped previous result stays.
      previous: (H, W, C), the result of the frame before the batch.
      new: (N, H, W, C), x.
      order: of the frames.

    Returns:
      (N, H, W, C).
    """
    height, width = new.shape[1:3]
    if flows.shape[1:3] != (height, width):
        scale = jnp.array([width / flows.shape[2], height / flows.shape[1]])
        flows = resize(flows, height, width) * scale
        weights = resize(weights[..., None], height, width)[..., 0]

    def follow(last: jax.Array, frame: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        flow, weight, image = frame
        mixture = weight[..., None] * warp(last, flow) + (1 - weight[..., None]) * image
        return mixture, mixture

    return order.scan(follow, previous, (flows, weights, new))[1]
