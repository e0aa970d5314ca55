"""Power-law preconditioner for L-BFGS over pixels: scales every spatial frequency f by f^-p."""

import jax
import jax.numpy as jnp

# Cycles per pixel, a wavelength of 200 pixels: images of usual size vary little below it, and 0 would divide by zero.
MIN_FREQUENCY = 0.005


def power_law_preconditioner(images: jax.Array, power: float) -> jax.Array:
    """Multiplies every spatial frequency f of images by f^-power, f in cycles per pixel, at least MIN_FREQUENCY.

    The losses of deep features are far flatter along smooth changes of an image than along grain, about as the
    amplitude spectrum of natural images falls, which goes with 1/f (Field 1987; used for optimized images by Olah et
    al. 2017, "Feature Visualization"). So large shapes move more easily than grain. Linear, symmetric and positive, as
    a preconditioner must be. The border is periodic.

    Args:
      images: (..., H, W, C).
      power: 0 is the identity.

    Returns:
      The same shape.
    """
    height, width = images.shape[-3:-1]
    rows, columns = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    gain = jnp.maximum(jnp.hypot(rows, columns), MIN_FREQUENCY) ** -power
    spectrum = jnp.fft.rfft2(images, axes=(-3, -2)) * gain[..., None]
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(-3, -2)).astype(images.dtype)
