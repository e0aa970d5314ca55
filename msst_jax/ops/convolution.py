"""Convolutions for inference in the form that is fastest on the platform; every form computes the same sums.

XLA's convolution is right on GPU and TPU. On CPU it is slow for three kinds of kernel, and other forms
win (one 65x65 image, two cores, milliseconds): 1x1, 2048 to 512 channels, 248 against 65 as a matrix
product; 3x3 with dilation 12 / 24 / 36, 2048 to 256 channels, 399 / 438 / 558 against 277 / 139 / 97 as
nine cropped matrix products; depthwise 3x3, 240 channels, 37 against 1.1 as nine multiply-adds.
Dilation 2 and 4 stay with XLA: nine products and one wide product are slower, space-to-batch is within noise.
The convolutions for training, whose gradients have fast forms too, are in `convolution_vjp`.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

# From this dilation on, nine shifted products skip enough of the zero padding to win on CPU.
STRONG_DILATION = 8
NHWC = ("NHWC", "HWIO", "NHWC")  # dimension numbers of input, kernel and output


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Zero-padded convolution; with stride 1 the size is kept. Source: torch's padding (k - 1) // 2 * dilation.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, C, D), or (k, k, 1, C) for a depthwise convolution; k odd.
      stride: step between outputs.
      dilation: step between the kernel's taps.

    Returns:
      (N, H', W', D).
    """
    xla = functools.partial(_xla_convolution, stride=stride, dilation=dilation)
    size, _, inputs, outputs = kernel.shape
    if size == 1:
        on_cpu = functools.partial(_matrix_product, stride=stride)
    elif inputs == 1 and outputs == x.shape[-1]:
        on_cpu = functools.partial(_depthwise, stride=stride, dilation=dilation)
    elif dilation >= STRONG_DILATION and stride == 1:
        on_cpu = functools.partial(_shifted_products, dilation=dilation)
    else:
        return xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=xla)


def _xla_convolution(x: jax.Array, kernel: jax.Array, *, stride: int, dilation: int) -> jax.Array:
    padding = (kernel.shape[0] - 1) // 2 * dilation
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=NHWC,
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def _matrix_product(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """1x1 kernels."""
    x = x[:, ::stride, ::stride]
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:3], kernel.shape[3])


def _depthwise(x: jax.Array, kernel: jax.Array, *, stride: int, dilation: int) -> jax.Array:
    """Depthwise kernels: one multiply-add of the whole shifted input for each tap."""
    size = kernel.shape[0]
    padding = (size - 1) // 2 * dilation
    height, width = (-(-side // stride) for side in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    total = jnp.zeros((), x.dtype)
    for i in range(size):
        for j in range(size):
            rows = slice(i * dilation, i * dilation + (height - 1) * stride + 1, stride)
            columns = slice(j * dilation, j * dilation + (width - 1) * stride + 1, stride)
            total = total + padded[:, rows, columns] * kernel[i, j, 0]
    return total


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
