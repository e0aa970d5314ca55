"""Guided image filter (He, Sun, Tang 2013, doi:10.1109/TPAMI.2012.213): aligns soft mask edges with a photo's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.ops.box_filter import box_filter

# Chosen on photos of people whose masks were blurred to a network's grid and bent by 2 and by 4 pixels: a radius of 1%
# leaves more of the edges where they were, from 2% on the regions begin to shine through each other.
RADIUS = 1.5  # percent of the photo's longest side
EPS = 1e-4  # (2.5 of 255 levels) squared, about the noise of a JPEG
MIN_PROBABILITY = 0.01  # a class that nowhere exceeds it is left unfiltered
PAIRS = tuple((i, j) for i in range(3) for j in range(i, 3))  # the upper triangle of a 3x3 matrix


class Guide(NamedTuple):
    """Window statistics of a photo, shared by all images that it guides; windows are clipped at the border."""

    colors: jax.Array
    """(3, H, W), less the photo's mean color, which affects no result but costs precision."""
    means: jax.Array
    """(3, H, W), of the window around each pixel."""
    covariance: jax.Array
    """(6, H, W), rr, rg, rb, gg, gb, bb of the window; eps is added to rr, gg and bb."""


def build_guide(photo: jax.Array, radius: int, eps: float) -> Guide:
    """Computes a photo's window statistics for `guided_filter`.

    Args:
      photo: (H, W, 3) in [0, 1].
      radius: of the windows, which are squares of 2 * radius + 1 pixels; may exceed the photo.
      eps: variance of the colors below which a window counts as flat; above zero.
    """
    colors = jnp.moveaxis(photo - photo.mean((0, 1)), -1, 0)
    products = jnp.stack([colors[i] * colors[j] for i, j in PAIRS])
    means, products = jnp.split(box_filter(jnp.concatenate([colors, products]), radius), [3])
    covariance = [
        product - means[i] * means[j] + (eps if i == j else 0) for product, (i, j) in zip(products, PAIRS, strict=True)
    ]
    return Guide(colors, means, jnp.stack(covariance))


def guided_filter(guide: Guide, image: jax.Array, radius: int) -> jax.Array:
    """Fits the image by a linear function of the colors in each window; overlapping windows are averaged.

    Linear in the image, and a constant image is unchanged; values may leave the range of the image.

    Args:
      guide: see `build_guide`.
      image: (H, W).
      radius: that of the guide.

    Returns:
      (H, W).

    Source: equations 19 to 21 of the paper.
    """
    moments = box_filter(jnp.concatenate([image[None], guide.colors * image]), radius)
    mean, covariance = moments[0], moments[1:] - guide.means * moments[0]
    slopes = _solve(guide.covariance, covariance)
    offset = mean - (slopes * guide.means).sum(0)
    coefficients = box_filter(jnp.concatenate([slopes, offset[None]]), radius)
    return (coefficients[:3] * guide.colors).sum(0) + coefficients[3]


def _solve(matrix: jax.Array, rhs: jax.Array) -> jax.Array:
    """x of `matrix @ x = rhs` at every pixel, (3, H, W); the matrices are positive definite.

    By LDL^T: in a gray photo they are nearly singular, and the quotient of determinants would be noise.
    """
    rr, rg, rb, gg, gb, bb = matrix
    lower_g, lower_b = rg / rr, rb / rr
    pivot_g, rest = gg - lower_g * rg, gb - lower_g * rb
    lower_gb = rest / pivot_g
    pivot_b = bb - lower_b * rb - lower_gb * rest
    green = rhs[1] - lower_g * rhs[0]
    blue = (rhs[2] - lower_b * rhs[0] - lower_gb * green) / pivot_b
    green = green / pivot_g - lower_gb * blue
    return jnp.stack([rhs[0] / rr - lower_g * green - lower_b * blue, green, blue])


def default_radius(shape: tuple[int, ...]) -> int:
    """The radius for a photo of shape (H, W, ...)."""
    return max(1, round(RADIUS / 100 * max(shape[:2])))


_build_guide = jax.jit(build_guide, static_argnums=1)
_apply_filter = jax.jit(guided_filter, static_argnums=2)


def refine_edges(probabilities: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Aligns the edges between classes with those of the photo.

    Args:
      probabilities: float32 (H, W, C), sum 1 over the classes.
      photo: (H, W, 3) in [0, 1].

    Returns:
      float32 (H, W, C) in [0, 1], sum 1.
    """
    present = np.flatnonzero(probabilities.max((0, 1)) > MIN_PROBABILITY)
    if len(present) < 2:
        return probabilities
    radius = default_radius(photo.shape)
    guide = _build_guide(photo, radius, EPS)
    refined = probabilities.copy()
    remainder, *others = present
    for index in others:
        refined[..., index] = _apply_filter(guide, probabilities[..., index], radius)
        # The filter is linear and keeps the sum, so the remaining class needs no filter of its own.
        refined[..., remainder] += probabilities[..., index] - refined[..., index]
    np.clip(refined, 0, 1, out=refined)
    refined /= refined.sum(-1, keepdims=True)
    return refined
