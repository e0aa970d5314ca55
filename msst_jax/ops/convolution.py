"""Convolutions for inference in the form that is fastest on the platform; every form computes the same sums.

XLA's convolution is right on GPU and TPU. On CPU it is slow for three kinds of kernel, and other forms
win (one 65x65 image, two cores, milliseconds): 1x1, 2048 to 512 channels, 248 against 65 as a matrix
product; 3x3 with dilation 12 / 24 / 36, 2048 to 256 channels, 399 / 438 / 558 against 277 / 139 / 97 as
nine cropped matrix products; depthwise 3x3, 240 channels, 37 against 1.1 as nine multiply-adds (`depthwise`).
Dilation 2 and 4 stay with XLA: nine products and one wide product are slower, space-to-batch is within noise.
The convolutions for training, whose gradients have fast forms too, are in `convolution_vjp` and `depthwise`.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

from msst_jax.ops.depthwise import NHWC, Padding, Window, depthwise

# From this dilation on, nine shifted products skip enough of the zero padding to win on CPU.
STRONG_DILATION = 8


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, same: bool = False) -> jax.Array:
    """Zero-padded convolution; with stride 1 the size is kept. Source: torch's padding (k - 1) // 2 * dilation.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, C, D), or (k, k, 1, C) for a depthwise convolution; k odd.
      stride: step between outputs.
      dilation: step between the kernel's taps.
      same: padding as TensorFlow's "SAME", which with a stride > 1 lies rather below and to the right.

    Returns:
      (N, H', W', D).
    """
    size, _, inputs, outputs = kernel.shape
    padding = _padding(x, size, stride, dilation, same)
    if inputs == 1 and outputs == x.shape[-1] and size > 1:
        return depthwise(x, kernel, Window(padding, stride, dilation))
    xla = functools.partial(_xla_convolution, padding=padding, stride=stride, dilation=dilation)
    if size == 1:
        on_cpu = functools.partial(_matrix_product, stride=stride)
    elif dilation >= STRONG_DILATION and stride == 1:
        on_cpu = functools.partial(_shifted_products, dilation=dilation)
    else:
        return xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=xla)


def _padding(x: jax.Array, size: int, stride: int, dilation: int, same: bool) -> Padding:
    """Zeros (above, below), (left, right); see `convolve`."""
    reach = (size - 1) * dilation
    if not same:
        return ((reach // 2,) * 2,) * 2
    height, width = (max((-(-side // stride) - 1) * stride + reach + 1 - side, 0) for side in x.shape[1:3])
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def _xla_convolution(x: jax.Array, kernel: jax.Array, *, padding: Padding, stride: int, dilation: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, rhs_dilation=(dilation, dilation), dimension_numbers=NHWC
    )


def _matrix_product(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """1x1 kernels."""
    x = x[:, ::stride, ::stride]
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:3], kernel.shape[3])


def _shifted_products(x: jax.Array, kernel: jax.Array, *, dilation: int) -> jax.Array:
    """Strongly dilated kernels: one matrix product for each tap, of the inputs that it shifts onto an output."""
    n, height, width, _ = x.shape
    total = jnp.zeros((n, height, width, kernel.shape[3]), x.dtype)
    for i, out_rows, in_rows in _tap_slices(kernel.shape[0], dilation, height):
        for j, out_columns, in_columns in _tap_slices(kernel.shape[1], dilation, width):
            product = _matrix_product(x[:, in_rows, in_columns], kernel[i : i + 1, j : j + 1])
            total = total.at[:, out_rows, out_columns].add(product)
    return total


def _tap_slices(size: int, dilation: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """(tap, its outputs, its inputs) along one axis, for the taps that reach any input at all."""
    for tap in range(size):
        offset = (tap - size // 2) * dilation
        if abs(offset) < length:
            ahead, behind = max(offset, 0), max(-offset, 0)
            yield tap, slice(behind, length - ahead), slice(ahead, length - behind)
