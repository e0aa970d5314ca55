"""Box filter: means over square windows, at a cost that hardly grows with the radius."""

import jax
import jax.numpy as jnp
import numpy as np


def box_filter(images: jax.Array, radius: int) -> jax.Array:
    """Mean of the window around every pixel of images (N, H, W); windows are clipped at the border."""
    for axis in (1, 2):
        length = images.shape[axis]
        reach = min(radius, length)  # a larger window covers no more pixels
        positions = np.arange(length)
        counts = np.minimum(positions + reach, length - 1) - np.maximum(positions - reach, 0) + 1
        images = _window_sums(images, reach, axis) / jnp.expand_dims(
            counts, [other for other in range(3) if other != axis]
        )
    return images


def _window_sums(x: jax.Array, radius: int, axis: int) -> jax.Array:
    """Sums over 2 * radius + 1 neighbors along an axis, zero-padded at both ends.

    Sums of 1, 2, 4, ... neighbors are built by doubling; those at the set bits of the window's length are
    concatenated to cover the window. So the cost hardly grows with the radius, and unlike with differences of a
    running sum the rounding error depends on the window, not on the whole axis.
    """
    length, window = x.shape[axis], 2 * radius + 1
    padding = [(0, 0)] * x.ndim
    padding[axis] = (radius, radius)
    power_sums, power = jnp.pad(x, padding), 1
    sums, covered = jnp.zeros(x.shape, x.dtype), 0

    def power_slice(start: int, size: int) -> jax.Array:
        return jax.lax.slice_in_dim(power_sums, start, start + size, axis=axis)

    while True:
        if window & power:
            sums, covered = sums + power_slice(covered, length), covered + power
        if covered == window:
            return sums
        size = power_sums.shape[axis] - power
        power_sums, power = power_slice(0, size) + power_slice(power, size), 2 * power
