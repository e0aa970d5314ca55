"""Colors of one image for another: the photo's own at each pixel, or those of a region as a distribution."""

import jax
import jax.numpy as jnp

LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
MIN_VARIANCE = 1e-4  # of a color: of less, as in a gray style, nothing could be stretched but noise


def luma(images: jax.Array) -> jax.Array:
    """The luma (..., 1) of sRGB images (..., 3)."""
    return (images * jnp.asarray(LUMA, images.dtype)).sum(-1, keepdims=True)


def take_colors(image: jax.Array, photo: jax.Array) -> jax.Array:
    """The luma of an image (H, W, 3) in [0, 1] with the chroma of a photo of its size, in [0, 1].

    Where the luma leaves too little room for the chroma, the latter is scaled down as far as needed: clipping would
    change both.

    Source: Gatys et al. 2016 (arXiv:1606.05897), section 5, luminance-only transfer.
    """
    light = jnp.clip(luma(image), 0.0, 1.0)
    chroma = photo - luma(photo)
    room = jnp.where(chroma > 0, 1 - light, light) / jnp.maximum(jnp.abs(chroma), 1e-6)
    return jnp.clip(light + jnp.minimum(room.min(-1, keepdims=True), 1.0) * chroma, 0.0, 1.0)


def match_colors(style: jax.Array, photo: jax.Array, mask: jax.Array) -> jax.Array:
    """A style (h, w, 3) with the mean and covariance of the colors of a photo (H, W, 3) under a mask (H, W), in [0, 1].

    Source: Gatys et al. 2016 (arXiv:1606.05897), section 4, color histogram matching by A = S_photo^1/2 S_style^-1/2.
    """
    mean, covariance = _color_statistics(style, jnp.ones(style.shape[:2]))
    wanted_mean, wanted_covariance = _color_statistics(photo, mask)
    transform = _matrix_power(wanted_covariance, 0.5) @ _matrix_power(covariance, -0.5)
    return jnp.clip((style - mean) @ transform.T + wanted_mean, 0.0, 1.0)


def _color_statistics(image: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean (3,) and covariance (3, 3) of the colors of an image (H, W, 3), weighted by (H, W)."""
    shares = weights / jnp.maximum(weights.sum(), 1e-6)
    mean = jnp.einsum("hw,hwc->c", shares, image)
    return mean, jnp.einsum("hw,hwc,hwd->cd", shares, image - mean, image - mean)


def _matrix_power(covariance: jax.Array, power: float) -> jax.Array:
    """A power of a covariance (3, 3), whose variances are at least MIN_VARIANCE."""
    variances, axes = jnp.linalg.eigh(covariance)
    return (axes * jnp.maximum(variances, MIN_VARIANCE) ** power) @ axes.T
