"""Colors of a photo for an image: its chroma at each pixel."""

import jax
import jax.numpy as jnp

LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709


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
