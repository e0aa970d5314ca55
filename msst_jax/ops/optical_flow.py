"""Dense optical flow between consecutive frames (pyramidal Lucas-Kanade), warping, and the flow's confidence."""

import jax
import jax.numpy as jnp

from msst_jax.ops.box_filter import box_filter

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
MIN_SIDE = 8  # shortest side of a pyramid level, unless the frames are smaller
# Chosen on pairs of two DAVIS videos at 384 pixels, by how well the true mask of the person moved with the flow: wider
# windows smear the edges of moving objects, smaller ones fit noise, and more than five steps change little.
RADIUS = 2  # pixels, of the windows
STEPS = 5  # for each level
FLAT_VARIANCE = 2e-4  # variance of the gradient below which the surrounding flow outweighs the window's own estimate
OUTLIER = 0.12  # gray residual that halves a pixel's weight: something else has come into view
# A frame of those videos that was warped correctly differs by 0.02, at edges by 0.05; unrelated images differ by 0.2
# and more.
COLOR_TOLERANCE = 0.06
COMPARE_RADIUS = 1  # pixels, of the windows in which frames are compared


def estimate_flow(previous: jax.Array, current: jax.Array) -> jax.Array:
    """For every pixel of a frame, its displacement to where it was in the previous frame.

    Coarse to fine; at each level a few steps of least squares in small windows, in which outliers and pixels from
    outside the frame have less weight. A window without texture takes the flow around it. Motion beyond about a sixth
    of the frame's shorter side is not recovered. Pure, may be traced; float32.

    Args:
      previous: (H, W, 3) in [0, 1], any size; meant for longest sides of 256 to 384 pixels.
      current: the next frame, of the same shape.

    Returns:
      (H, W, 2), (dx, dy) in pixels, x to the right and y down: what is at (x, y) in `current` was at (x + dx, y + dy)
      in `previous`; that may be outside the frame.

    Source: Lucas and Kanade 1981, "An iterative image registration technique with an application to stereo vision",
    in pyramids as in Bouguet 2000, "Pyramidal implementation of the Lucas Kanade feature tracker". Unlike there every
    pixel has a window, whose flow is solved for directly and not as an update to that of its pixel (so neighbors
    agree), and residuals have the weights of Cauchy's M-estimator.
    """
    levels = [(jnp.stack([previous, current]) * jnp.asarray(LUMA)).sum(-1)]  # a matrix product would round on a TPU
    while min(levels[-1].shape[1:]) >= 2 * MIN_SIDE:
        levels.append(_downsample(levels[-1]))
    flow = jnp.zeros_like(levels[-1])
    for level in reversed(levels):
        if flow.shape != level.shape:
            flow = 2 * _upsample(flow)[:, : level.shape[1], : level.shape[2]]
        flow = _refine_flow(level[0], level[1], flow)
    return jnp.moveaxis(flow, 0, -1)


def _downsample(images: jax.Array) -> jax.Array:
    """Images (N, H, W) at half the size, rounded up; each pixel is centered on the four that it replaces."""
    for axis in (1, 2):
        length = images.shape[axis]
        padding = [(0, 0)] * 3
        padding[axis] = (1, 1 + length % 2)
        padded, half = jnp.pad(images, padding, mode="edge"), (length + 1) // 2
        outer, left, right, last = (
            jax.lax.slice_in_dim(padded, start, start + 2 * half - 1, 2, axis) for start in range(4)
        )
        images = (outer + last) / 8 + (left + right) * 3 / 8
    return images


def _upsample(images: jax.Array) -> jax.Array:
    """Images (N, H, W) at twice the size; each pixel becomes the four that `_downsample` centers it on."""
    return jnp.repeat(jnp.repeat(images, 2, 1), 2, 2)


def _refine_flow(previous: jax.Array, current: jax.Array, flow: jax.Array) -> jax.Array:
    """The flow (2, H, W) between two gray images (H, W), from an initial estimate near it."""
    grad_y, grad_x = jnp.gradient(current)
    corners = _corner_table(previous[..., None])

    def step(_: int, flow: jax.Array) -> jax.Array:
        x, y = _source_positions(flow)
        residual = _sample_bilinear(corners, x, y)[..., 0] - current
        weight = _inside(x, y) / (1 + (residual / OUTLIER) ** 2)
        target = grad_x * flow[0] + grad_y * flow[1] - residual
        weighted_x, weighted_y = weight * grad_x, weight * grad_y
        values = [
            weighted_x * grad_x,
            weighted_x * grad_y,
            weighted_y * grad_y,
            weighted_x * target,
            weighted_y * target,
            *flow,
        ]
        xx, xy, yy, x_target, y_target, mean_x, mean_y = box_filter(jnp.stack(values), RADIUS)
        xx, x_target = xx + FLAT_VARIANCE, x_target + FLAT_VARIANCE * mean_x
        yy, y_target = yy + FLAT_VARIANCE, y_target + FLAT_VARIANCE * mean_y
        return jnp.stack([yy * x_target - xy * y_target, xx * y_target - xy * x_target]) / (xx * yy - xy**2)

    return jax.lax.fori_loop(0, STEPS, step, flow)


def _source_positions(flow: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Columns and rows (H, W) that a flow (2, H, W) points to."""
    height, width = flow.shape[1:]
    return jnp.arange(width) + flow[0], jnp.arange(height)[:, None] + flow[1]


def _inside(x: jax.Array, y: jax.Array) -> jax.Array:
    height, width = x.shape
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _corner_table(image: jax.Array) -> jax.Array:
    """Every pixel of (H, W, C) with those right of it, below, and both, (H * W, 4 * C): one lookup fetches all four."""
    height, width, channels = image.shape
    padded = jnp.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    corners = [padded[top : top + height, left : left + width] for top in (0, 1) for left in (0, 1)]
    return jnp.concatenate(corners, -1).reshape(height * width, 4 * channels)


def _sample_bilinear(corners: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Values (H, W, C) of an image at columns and rows (H, W), bilinear, clamped to the border."""
    height, width = x.shape
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    fraction_x, fraction_y = (x - left)[..., None], (y - top)[..., None]
    values = jnp.take(corners, _pixel_index(left, top, width), axis=0, mode="clip")
    upper_left, upper_right, lower_left, lower_right = jnp.split(values, 4, -1)
    upper = upper_left + fraction_x * (upper_right - upper_left)
    lower = lower_left + fraction_x * (lower_right - lower_left)
    return upper + fraction_y * (lower - upper)


def _pixel_index(x: jax.Array, y: jax.Array, width: int) -> jax.Array:
    """The places of whole columns and rows in a flat image; as floats they are exact up to 4096x4096 pixels only."""
    return y.astype(jnp.int32) * width + x.astype(jnp.int32)


def warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    """Warps the previous frame, or anything of its size, onto the current frame.

    Args:
      image: (H, W, C) of the previous frame: its colors, its masks, or anything else.
      flow: (H, W, 2), see `estimate_flow`.

    Returns:
      (H, W, C), bilinear; where the flow leaves the frame, the nearest pixel of its border.
    """
    return _sample_bilinear(_corner_table(image), *_source_positions(jnp.moveaxis(flow, -1, 0)))


def points_inside(flow: jax.Array) -> jax.Array:
    """(H, W), bool: whether a flow (H, W, 2), see `estimate_flow`, points into the frame."""
    return _inside(*_source_positions(jnp.moveaxis(flow, -1, 0)))


def flow_confidence(previous: jax.Array, current: jax.Array, flow: jax.Array) -> jax.Array:
    """Photometric confidence of the flow: how well the warped previous frame matches the current one.

    Low where something has just come into view and across scene cuts; high by mistake where the new happens to look
    like the old.

    Args:
      previous: (H, W, 3) in [0, 1].
      current: (H, W, 3) in [0, 1].
      flow: (H, W, 2), see `estimate_flow`.

    Returns:
      (H, W) in [0, 1]: exp(-d / (2 COLOR_TOLERANCE^2)) with d the mean squared difference of the colors in a small
      window; 0 where the flow leaves the frame by more than a pixel.
    """
    squares = ((warp(previous, flow) - current) ** 2).mean(-1)
    x, y = _source_positions(jnp.moveaxis(flow, -1, 0))
    height, width = x.shape
    overshoot = jnp.maximum(jnp.maximum(-x, x - (width - 1)), jnp.maximum(-y, y - (height - 1)))
    distance = box_filter(squares[None], COMPARE_RADIUS)[0]
    return jnp.where(overshoot > 1, 0, jnp.exp(-distance / (2 * COLOR_TOLERANCE**2)))
