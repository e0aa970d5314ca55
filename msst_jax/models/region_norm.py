"""Instance normalization: of whole images, and of regions, each with a scale and a shift of its own."""

import jax
import jax.numpy as jnp

EPSILON = 1e-5  # torch.nn.InstanceNorm2d's
PRIOR = 0.05  # share of the image's pixels whose statistics a region's are drawn toward: a small region has few


def instance_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """(x - mean) / sqrt(var + 1e-5) * scale + shift, mean and variance over each image's pixels; float32 inside.

    Args:
      x: (N, H, W, C).
      scale: (C,).
      shift: (C,).

    Source: Ulyanov et al. 2016 (arXiv:1607.08022); torch.nn.InstanceNorm2d.
    """
    centered = _centered(x)
    factor = jax.lax.rsqrt(jnp.square(centered).mean((1, 2), keepdims=True) + EPSILON)
    return (centered * (factor * scale) + shift).astype(x.dtype)


def region_norm(x: jax.Array, masks: jax.Array, style: jax.Array) -> jax.Array:
    """Normalizes every region by its own mean and variance, then scales and shifts it by its own style; float32 inside.

    Between regions the masks mix the affine maps. The statistics of a region are those of its pixels and of a share
    PRIOR of the image's; one without pixels has the image's. A single mask of ones is conditional instance
    normalization.

    Args:
      x: (N, H, W, C).
      masks: (N, H, W, K) in [0, 1], sum 1 at every pixel.
      style: (N, K, 2C), for each region the scale less 1, then the shift.

    Source: Dumoulin et al. 2016 (arXiv:1610.07629), eq. 5; by region as in SEAN, Zhu et al. 2020 (arXiv:1911.12861).
    """
    n, height, width, channels = x.shape
    flat = _centered(x).reshape(n, height * width, channels)
    weights = masks.reshape(n, height * width, -1).astype(flat.dtype)
    prior = PRIOR * height * width
    area = weights.sum(1)[..., None] + prior
    mean = _transposed_product(weights, flat) / area
    squares = jnp.square(flat)
    variance = (_transposed_product(weights, squares) + prior * squares.mean(1, keepdims=True)) / area - mean**2
    scale = (1 + style[..., :channels]) * jax.lax.rsqrt(jnp.maximum(variance, 0) + EPSILON)
    shift = style[..., channels:] - mean * scale
    return (flat * (weights @ scale) + weights @ shift).reshape(x.shape).astype(x.dtype)


def _centered(x: jax.Array) -> jax.Array:
    """x less the mean of each image: variances of what has a large mean would be rounded away."""
    x32 = x.astype(jnp.float32)
    return x32 - x32.mean((1, 2), keepdims=True)


def _transposed_product(weights: jax.Array, values: jax.Array) -> jax.Array:
    """(N, P, K) and (N, P, C) to (N, K, C), summed in float32."""
    return jnp.einsum("npk,npc->nkc", weights, values, precision=jax.lax.Precision.HIGHEST)
