"""Depthwise convolution, with gradients, in the form that is fastest on the platform.

XLA on CPU is slow at these, forward and backward (8 images of 64x64, 144 channels, 3x3, two cores, milliseconds): the
sum of nine shifted products takes 4, its gradient of x the same as such a sum again, 7, and the gradient of the kernel
9 where the nine sums of products take 104 as XLA reduces them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from msst_jax.ops.linear_map import Arrays, bilinear_jvp

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros (above, below), (left, right)."""

NHWC = ("NHWC", "HWIO", "NHWC")  # dimension numbers of input, kernel and output
MAX_ROWS = 8  # of outputs in a band, see `_kernel_gradient`


class Window(NamedTuple):
    """How a kernel moves over an image."""

    padding: Padding
    """Zeros around the image."""
    stride: int = 1
    """Step between outputs."""
    dilation: int = 1
    """Step between the kernel's taps."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def depthwise(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Each channel convolved with a kernel of its own.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, 1, C).
      window: see `Window`.

    Returns:
      (N, H', W', C).
    """
    on_cpu = functools.partial(_shifted_sum, window=window)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=functools.partial(_xla, window=window))


@functools.partial(depthwise.defjvp, symbolic_zeros=True)
def _jvp(
    window: Window, primals: Arrays, tangents: tuple[jax.Array | SymbolicZero, ...]
) -> tuple[jax.Array, jax.Array]:
    product = functools.partial(depthwise, window=window)
    return bilinear_jvp(product, functools.partial(_backward, window=window), primals, tangents)


def _backward(factors: Arrays, grad: jax.Array, *, window: Window) -> Arrays:
    def on_cpu(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _x_gradient(x, kernel, grad, window=window), _kernel_gradient(x, kernel, grad, window=window)

    def default(x: jax.Array, kernel: jax.Array, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(functools.partial(_xla, window=window), x, kernel)[1](grad)

    return lax.platform_dependent(*factors, grad, cpu=on_cpu, default=default)


def _xla(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride, window.stride),
        window.padding,
        rhs_dilation=(window.dilation, window.dilation),
        dimension_numbers=NHWC,
        feature_group_count=x.shape[-1],
    )


def _shifted_sum(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    """One multiply-add of the whole shifted input for each tap."""
    size = kernel.shape[0]
    padding, stride, dilation = window
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = ((side - (size - 1) * dilation - 1) // stride + 1 for side in padded.shape[1:3])
    total = jnp.zeros((), x.dtype)
    for i in range(size):
        for j in range(size):
            tap = padded[:, _steps(i * dilation, rows, stride), _steps(j * dilation, columns, stride)]
            total = total + tap * kernel[i, j, 0]
    return total


def _steps(start: int, count: int, stride: int) -> slice:
    return slice(start, start + (count - 1) * stride + 1, stride)


def _x_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, window: Window) -> jax.Array:
    """The gradient, spread out by the stride, convolved with the flipped kernel."""
    padding, stride, dilation = window
    reach = (kernel.shape[0] - 1) * dilation
    spread = [(0, 0, 0), (0, 0, 0)]
    for axis, (before, _) in enumerate(padding):
        last = (grad.shape[axis + 1] - 1) * stride
        spread.insert(axis + 1, (reach - before, x.shape[axis + 1] - 1 + before - last, stride - 1))
    padded = lax.pad(grad, jnp.zeros((), grad.dtype), spread)
    if stride > 1:  # else the sum would look for every tap whether it is a gradient or a zero
        padded = lax.optimization_barrier(padded)
    return _shifted_sum(padded, kernel[::-1, ::-1], window=Window(((0, 0), (0, 0)), dilation=dilation))


def _kernel_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, window: Window) -> jax.Array:
    """Sums over bands of a few rows of one image, so that all taps read a band while it is in the cache."""
    size = kernel.shape[0]
    padding, stride, dilation = window
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, height, width, channels = grad.shape
    rows = next(count for count in range(MAX_ROWS, 0, -1) if height % count == 0)
    bands = height // rows
    taps = [(i * dilation, j * dilation) for i in range(size) for j in range(size)]
    read = ((rows - 1) * stride + (size - 1) * dilation + 1, padded.shape[2], channels)

    def add_band(sums: list[jax.Array], index: jax.Array) -> tuple[list[jax.Array], None]:
        image, row = index // bands, index % bands * rows
        band = lax.dynamic_slice(grad, (image, row, 0, 0), (1, rows, width, channels))[0]
        values = lax.dynamic_slice(padded, (image, row * stride, 0, 0), (1, *read))[0]
        seen = (values[_steps(i, rows, stride), _steps(j, width, stride)] for i, j in taps)
        return [total + tap * band for total, tap in zip(sums, seen, strict=True)], None

    zeros = [jnp.zeros((rows, width, channels), grad.dtype)] * len(taps)
    sums, _ = lax.scan(add_band, zeros, jnp.arange(n * bands))
    return jnp.stack([total.sum((0, 1)) for total in sums]).reshape(kernel.shape)
