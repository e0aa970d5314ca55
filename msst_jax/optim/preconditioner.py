"""L-BFGS' inverse Hessian before it has learned any: large shapes of a picture move more easily than grain."""

import jax
import jax.numpy as jnp

# Cycles a pixel, a wave of 200 pixels: below it no picture of usual size differs much, and 0 would divide by itself.
MIN_FREQUENCY = 0.005


def power_law_preconditioner(images: jax.Array, power: float) -> jax.Array:
    """Multiplies every spatial frequency f of pictures by f^-power, f in cycles a pixel, LOWEST at least.

    The losses of deep features are far flatter along smooth changes of a picture than along grain, about as the
    spectrum of natural pictures falls, whose amplitudes go with 1/f (Field 1987; used for optimised pictures by Olah et
    al. 2017, "Feature Visualization"). Linear, symmetric and positive, as a preconditioner must be. The border is taken
    as periodic.

    Args:
      images: (..., H, W, C).
      power: 0 leaves them as they are.

    Returns:
      The same shape.
    """
    height, width = images.shape[-3:-1]
    rows, columns = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    gain = jnp.maximum(jnp.hypot(rows, columns), MIN_FREQUENCY) ** -power
    spectrum = jnp.fft.rfft2(images, axes=(-3, -2)) * gain[..., None]
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(-3, -2)).astype(images.dtype)
