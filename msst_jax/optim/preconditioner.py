"""Power-law preconditioner for L-BFGS over pixels: scales every spatial frequency f by f^-p."""

import jax
import jax.numpy as jnp

from msst_jax.ops.picture_split import ROWS, STRIPS, PictureSplit

# Cycles per pixel, a wavelength of 200 pixels: images of usual size vary little below it, and 0 would divide by zero.
MIN_FREQUENCY = 0.005


def power_law_preconditioner(images: jax.Array, power: float, split: PictureSplit | None = None) -> jax.Array:
    """Multiplies every spatial frequency f of images by f^-power, f in cycles per pixel, at least MIN_FREQUENCY.

    The losses of deep features are far flatter along smooth changes of an image than along grain, about as the
    amplitude spectrum of natural images falls, which goes with 1/f (Field 1987; used for optimized images by Olah et
    al. 2017, "Feature Visualization"). So large shapes move more easily than grain. Linear, symmetric and positive, as
    a preconditioner must be. The border is periodic.

    Args:
      images: (..., H, W, C).
      power: 0 is the identity.
      split: how the images lie on several devices; None = they are on one.

    Returns:
      The same shape.
    """
    if split is not None:
        return _by_strips(images, power, split)
    height, width = images.shape[-3:-1]
    rows, columns = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    spectrum = jnp.fft.rfft2(images, axes=(-3, -2)) * _gain(rows, columns, power)
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(-3, -2)).astype(images.dtype)


def _gain(rows: jax.Array, columns: jax.Array, power: float) -> jax.Array:
    """The factors (H, W, 1) of frequencies (H, 1) and (1, W)."""
    return (jnp.maximum(jnp.hypot(rows, columns), MIN_FREQUENCY) ** -power)[..., None]


def _by_strips(images: jax.Array, power: float, split: PictureSplit) -> jax.Array:
    """As `power_law_preconditioner`: XLA would gather the images on every device.

    Each device transforms its strip along the axis that it has whole. Then the strips are exchanged for such of the
    spectrum that are whole along the other axis, and back again.
    """
    whole, cut = split.other, split.axis
    length, devices = images.shape[whole], split.devices
    missing = -(length // 2 + 1) % devices  # to strips of one size
    along_whole, along_cut = jnp.pad(jnp.fft.rfftfreq(length), (0, missing)), jnp.fft.fftfreq(images.shape[cut])
    rows, columns = (along_cut, along_whole) if cut == ROWS else (along_whole, along_cut)

    def exchange(spectrum: jax.Array, cut: int, joined: int) -> jax.Array:
        axes = (axis % spectrum.ndim for axis in (cut, joined))
        return jax.lax.all_to_all(spectrum, STRIPS, *axes, tiled=True)

    def of_strip(images: jax.Array, gain: jax.Array) -> jax.Array:
        spectrum = jnp.fft.rfft(images, axis=whole)
        padding = [(0, missing if axis == whole else 0) for axis in range(-images.ndim, 0)]
        spectrum = exchange(jnp.pad(spectrum, padding), whole, cut)
        spectrum = jnp.fft.ifft(jnp.fft.fft(spectrum, axis=cut) * gain, axis=cut)
        spectrum = exchange(spectrum, cut, whole)
        return jnp.fft.irfft(spectrum, length, axis=whole).astype(images.dtype)

    spec = split.spec(images.ndim)
    mapped = jax.shard_map(of_strip, mesh=split.mesh, in_specs=(spec, split.other_spec(3)), out_specs=spec)
    return mapped(images, _gain(rows[:, None], columns[None], power))
