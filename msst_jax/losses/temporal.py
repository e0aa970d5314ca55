"""Stability of a feed-forward model in videos: what it makes of a photo that has moved must have moved alike.

Source: the compound regularization of ReReVST, Wang et al. 2020 (arXiv:2012.03066): synthetic motion and noise of a
single photo, in place of videos.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from msst_jax.ops.image import resize
from msst_jax.ops.optical_flow import points_inside, warp

Paint = Callable[[jax.Array, jax.Array], jax.Array]
"""Photos (N, H, W, 3) in [0, 1] and masks (N, H, W, K) to pictures (N, H, W, 3)."""


def synthetic_flow(affine: jax.Array, bends: jax.Array, height: int, width: int) -> jax.Array:
    """The displacements (H, W, 2) in pixels of a motion, see `training.data.motion.random_motion`.

    Args:
      affine: (2, 3).
      bends: (B, B, 2).
      height: H.
      width: W.
    """
    rows, columns = ((jnp.arange(side) + 0.5) / side - 0.5 for side in (height, width))
    x, y = jnp.broadcast_to(columns, (height, width)), jnp.broadcast_to(rows[:, None], (height, width))
    positions = jnp.stack([x, y, jnp.ones_like(x)], -1)
    relative = positions @ affine.T + resize(bends, height, width)
    return relative * jnp.array([width, height], jnp.float32)


def temporal_loss(
    paint: Paint, photos: jax.Array, masks: jax.Array, pictures: jax.Array, motion: Mapping[str, jax.Array]
) -> jax.Array:
    """mean((P(W(x) + noise) - W(P(x)))^2) over the pixels that the motion W brings from within the photo.

    It is a mean over the photos, each by its own pixels: so it is the same on any number of devices. P(x) is constant
    in the gradient: the second frame follows the first.

    Args:
      paint: P, the model.
      photos: x, (N, H, W, 3) in [0, 1].
      masks: (N, H, W, K), which move along.
      pictures: P(x), (N, H, W, 3).
      motion: fields of `random_motion`, with a leading axis N.
    """
    _, height, width, _ = photos.shape
    flows = jax.vmap(lambda affine, bends: synthetic_flow(affine, bends, height, width))(
        motion["affine"], motion["bends"]
    )
    noise = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), (height, width, 3)))(motion["noise_seed"])
    inside = jax.vmap(points_inside)(flows)[..., None]
    together = jnp.concatenate([photos, masks, jax.lax.stop_gradient(pictures)], -1)
    moved, moved_masks, expected = jnp.split(jax.vmap(warp)(together, flows), (3, together.shape[-1] - 3), -1)
    noisy = jnp.clip(moved + motion["noise"][:, None, None, None] * noise, 0.0, 1.0)
    difference = jnp.square(paint(noisy, moved_masks) - expected).mean(-1, keepdims=True)
    return jnp.mean(jnp.sum(difference * inside, (1, 2, 3)) / jnp.maximum(jnp.sum(inside, (1, 2, 3)), 1.0))
