"""Nearest-neighbor upsampling and a 3x3 convolution in one, with custom gradients."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from msst_jax.ops.convolution_vjp import plain_valid_convolution, valid_convolution
from msst_jax.ops.linear_map import Arrays, bilinear_jvp

BORDER = ((0, 0), (1, 1), (1, 1), (0, 0))

Form = Callable[[jax.Array, jax.Array], jax.Array]


@jax.custom_jvp
def upsample_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution of x upsampled by 2 (nearest neighbor), with reflection padding.

    Args:
      x: (N, H, W, C).
      kernel: (3, 3, C, D), float32 whatever x is.

    Returns:
      (N, 2H, 2W, D).
    """
    return lax.platform_dependent(x, kernel, cpu=_four_phases, default=_upsample_then_convolve)


@functools.partial(upsample_convolution.defjvp, symbolic_zeros=True)
def _jvp(primals: Arrays, tangents: tuple[jax.Array | SymbolicZero, ...]) -> tuple[jax.Array, jax.Array]:
    return bilinear_jvp(upsample_convolution, _backward, primals, tangents)


def _backward(factors: Arrays, grad: jax.Array) -> Arrays:
    def gradients(form: Form, x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, vjp = jax.vjp(form, x, kernel)
        return vjp(grad)

    on_cpu, default = (functools.partial(gradients, form) for form in (_four_phases, _upsample_then_convolve))
    return lax.platform_dependent(*factors, grad, cpu=on_cpu, default=default)


def _upsample_then_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    padded = jnp.pad(upsample_nearest(x), BORDER, mode="reflect")
    return plain_valid_convolution(padded, kernel.astype(x.dtype), stride=1)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, 2H, 2W, C), every pixel four times. Source: torch.nn.Upsample(scale_factor=2)."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _four_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """One 2x2 convolution at the size of x for the four outputs of every pixel: 16 products in place of 36.

    Of three taps in a row two meet the same pixel of x, so they are summed first. The reflected border of the
    upsampled x is the edge of x, repeated. Source: the sub-pixel view of Shi et al. 2016 (arXiv:1609.07009).
    8 images upsampled to 128x128, 64 to 32 channels, with the normalization, one core: 41 instead of 79 ms.
    """
    n, height, width, _ = x.shape
    phases = _row_phases(jnp.moveaxis(_row_phases(kernel), 2, 0))  # (columns: 2, 2, rows: 2, 2, C, D)
    phases = phases.transpose(3, 1, 4, 2, 0, 5)  # (2, 2, C, phase of the row, phase of the column, D)
    _, _, inputs, _, _, outputs = phases.shape
    x = jnp.pad(x, BORDER, mode="edge")
    out = valid_convolution(x, phases.reshape(2, 2, inputs, 4 * outputs).astype(x.dtype))
    out = out.reshape(n, height + 1, width + 1, 2, 2, outputs)
    rows = [jnp.stack([out[:, p : p + height, q : q + width, p, q] for q in (0, 1)], axis=3) for p in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, outputs)


def _row_phases(kernel: jax.Array) -> jax.Array:
    """Rows of taps (3, ...) to (phase: 2, row of x: 2, ...)."""
    above, here, below = kernel
    return jnp.stack([jnp.stack([above, here + below]), jnp.stack([above + here, below])])
