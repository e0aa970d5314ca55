"""Box filter: means over square windows in time that hardly grows with the radius."""

import jax
import jax.numpy as jnp
import numpy as np


def box_filter(images: jax.Array, radius: int) -> jax.Array:
    """Mean of the window around every pixel of images (N, H, W); only what lies in the image counts."""
    for axis in (1, 2):
        length = images.shape[axis]
        reach = min(radius, length)  # a larger window sees no more
        place = np.arange(length)
        counts = np.minimum(place + reach, length - 1) - np.maximum(place - reach, 0) + 1
        images = _window_sums(images, reach, axis) / jnp.expand_dims(
            counts, [other for other in range(3) if other != axis]
        )
    return images


def _window_sums(x: jax.Array, radius: int, axis: int) -> jax.Array:
    """Sums over 2 * radius + 1 neighbours along an axis, nothing beyond the ends.

    Sums of 1, 2, 4, ... neighbours are each made of two of the last; those that the window's length has as binary
    digits are put side by side. So the work hardly grows with the radius, and unlike with differences of one running
    sum it is the window, not the whole axis, that sets the rounding error.
    """
    length, window = x.shape[axis], 2 * radius + 1
    padding = [(0, 0)] * x.ndim
    padding[axis] = (radius, radius)
    power_sums, power = jnp.pad(x, padding), 1
    sums, done = jnp.zeros(x.shape, x.dtype), 0

    def piece(start: int, size: int) -> jax.Array:
        return jax.lax.slice_in_dim(power_sums, start, start + size, axis=axis)

    while True:
        if window & power:
            sums, done = sums + piece(done, length), done + power
        if done == window:
            return sums
        size = power_sums.shape[axis] - power
        power_sums, power = piece(0, size) + piece(power, size), 2 * power
