"""Convolutions for training, with custom gradients, in the form that is fastest on the platform."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from msst_jax.ops.depthwise import NHWC
from msst_jax.ops.linear_map import Arrays, bilinear_jvp

FEW_CHANNELS = 4  # such as the three of an image
COLUMNS = 4  # that `_columns_at_once` makes; with 8 the kernel is mostly zeros, and slower than one at a time


# --- convolution without padding
@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def valid_convolution(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution without padding, for training: its gradients too are fast on the platform.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, C, D).
      stride: step between outputs.

    Returns:
      (N, (H - k) // stride + 1, (W - k) // stride + 1, D).
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_cpu_form(x, kernel, stride), stride=stride),
        default=functools.partial(plain_valid_convolution, stride=stride),
    )


@functools.partial(valid_convolution.defjvp, symbolic_zeros=True)
def _valid_jvp(
    stride: int, primals: Arrays, tangents: tuple[jax.Array | SymbolicZero, ...]
) -> tuple[jax.Array, jax.Array]:
    product = functools.partial(valid_convolution, stride=stride)
    return bilinear_jvp(product, functools.partial(_valid_backward, stride), primals, tangents)


def _valid_backward(stride: int, factors: Arrays, grad: jax.Array) -> Arrays:
    on_cpu = functools.partial(_cpu_gradients, stride=stride)
    return lax.platform_dependent(*factors, grad, cpu=on_cpu, default=functools.partial(_gradients, stride=stride))


def _cpu_form(x: jax.Array, kernel: jax.Array, stride: int) -> Callable[..., jax.Array]:
    """The fastest form of the product itself on CPU."""
    size, _, inputs, outputs = kernel.shape
    if _suits_space_to_depth(x, kernel, stride) and inputs <= FEW_CHANNELS:
        return _space_to_depth
    if size > 3 and stride == 1 and outputs <= FEW_CHANNELS and (x.shape[2] - size + 1) % COLUMNS == 0:
        return _columns_at_once
    return _padded_and_cropped


def plain_valid_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """As `valid_convolution`, by XLA's own convolution and with its own gradients."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=NHWC)


def _gradients(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> tuple[jax.Array, jax.Array]:
    _, vjp = jax.vjp(functools.partial(plain_valid_convolution, stride=stride), x, kernel)
    return vjp(grad)


def _padded_and_cropped(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """One ring of outputs too many, then cropped: without padding XLA on CPU takes a path 2 to 10 times slower."""
    padding = [(stride, stride)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)[:, 1:-1, 1:-1]


def _columns_at_once(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Stride 1 as COLUMNS columns of outputs a step: channels for the vector unit where there are few of them.

    5x5 from 16 to 3 channels on 480x856: 51 instead of 109 ns a pixel, one core.

    Args:
      x: (N, H, W, C), W - k + 1 a multiple of COLUMNS.
      kernel: (k, k, C, D).
      stride: 1.
    """
    rest = COLUMNS - 1
    shifted = [jnp.pad(kernel, ((0, 0), (column, rest - column), (0, 0), (0, 0))) for column in range(COLUMNS)]
    wide = jnp.concatenate(shifted, axis=3)
    out = lax.conv_general_dilated(x, wide, (stride, COLUMNS), "VALID", dimension_numbers=NHWC)
    return out.reshape(*out.shape[:2], -1, kernel.shape[3])


def _cpu_gradients(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> tuple[jax.Array, jax.Array]:
    """Gradients of x and of the kernel, each in its fastest form on CPU. XLA drops the one that is not used."""
    outputs = kernel.shape[-1]
    if _suits_space_to_depth(x, kernel, stride) and outputs <= FEW_CHANNELS:
        _, vjp = jax.vjp(functools.partial(_space_to_depth, stride=stride), x, kernel)
        return vjp(grad)
    if stride > 1:
        _, vjp = jax.vjp(lambda x: _padded_and_cropped(x, kernel, stride=stride), x)
        x_grad = vjp(grad)[0]
    else:
        x_grad = _turned_convolution(kernel, grad, border=0)
    return x_grad, _kernel_gradient(x, kernel, grad, stride=stride)


def _kernel_gradient(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> jax.Array:
    """3x3 kernels: one image at a time, in half the time of the whole batch."""

    def batch_gradient(x: jax.Array, grad: jax.Array) -> jax.Array:
        _, vjp = jax.vjp(lambda kernel: _padded_and_cropped(x, kernel, stride=stride), kernel)
        return vjp(grad)[0]

    if kernel.shape[0] == 3:
        return functools.reduce(jnp.add, (batch_gradient(x[i : i + 1], grad[i : i + 1]) for i in range(len(x))))
    return batch_gradient(x, grad)


# --- the space-to-depth form, for large kernels with few channels on one side
def _suits_space_to_depth(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether `_space_to_depth` can be used and may pay."""
    return kernel.shape[0] > 3 and stride == 1 and x.shape[1] % 2 == 0 == x.shape[2] % 2


def _space_to_depth(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Stride 1 at half the size with four times the channels, which suits XLA on CPU if they are few.

    9x9 on 128x128, one core: 3 to 32 channels, 4 images, 7 instead of 31 ms; gradient of the kernel of 32 to 3
    channels, 8 images, 55 instead of 115 ms; its forward is slower.

    Args:
      x: (N, H, W, C), H and W even.
      kernel: (k, k, C, D), k odd.
      stride: 1.
    """
    phases = _row_phases(jnp.moveaxis(_row_phases(kernel), 3, 0))  # (m, 2, 2, m, 2, 2, C, D), columns first
    size, inputs, outputs = len(phases), *kernel.shape[2:]
    phases = phases.transpose(3, 0, 4, 1, 6, 5, 2, 7).reshape(size, size, 4 * inputs, 4 * outputs)
    n, height, width, _ = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, inputs).transpose(0, 1, 3, 2, 4, 5)
    out = _padded_and_cropped(x.reshape(n, height // 2, width // 2, -1), phases, stride=stride)
    return _depth_to_space(out.reshape(*out.shape[:3], 2, 2, outputs))


def _row_phases(kernel: jax.Array) -> jax.Array:
    """Rows of taps (k, ...) to (m, 2, 2, ...), m = (k + 1) / 2: for row 2i + a in and 2j + b out, tap (i - j, a, b)."""
    rest = [(0, 0)] * (kernel.ndim - 1)
    shifted = [jnp.pad(kernel, [(b, 1 - b), *rest]).reshape(-1, 2, *kernel.shape[1:]) for b in (0, 1)]
    return jnp.stack(shifted, axis=2)


def _depth_to_space(phases: jax.Array) -> jax.Array:
    """(N, H, W, 2, 2, D) to (N, 2H, 2W, D)."""
    n, height, width, _, _, channels = phases.shape
    return phases.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, channels)


# --- convolution with a border
@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def padded_convolution(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    """Convolution of stride 1, with a gradient of x that is fast on the platform, inside of loops too.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, C, D).
      border: zero padding on every side.

    Returns:
      (N, H + 2 border - k + 1, W + 2 border - k + 1, D).
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), [(border, border)] * 2, dimension_numbers=NHWC)


@functools.partial(padded_convolution.defjvp, symbolic_zeros=True)
def _padded_jvp(
    border: int, primals: Arrays, tangents: tuple[jax.Array | SymbolicZero, ...]
) -> tuple[jax.Array, jax.Array]:
    product = functools.partial(padded_convolution, border=border)
    return bilinear_jvp(product, functools.partial(_padded_backward, border), primals, tangents)


def _padded_backward(border: int, factors: Arrays, grad: jax.Array) -> Arrays:
    x, kernel = factors
    xla = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), padding=[(border, border)] * 2)
    xla = functools.partial(xla, dimension_numbers=NHWC)

    def x_gradient(kernel: jax.Array, grad: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: xla(x, kernel), x)[1](grad)[0]

    form = _scattered_products if x.shape[-1] <= FEW_CHANNELS else _turned_convolution
    on_cpu = functools.partial(form, border=border)
    kernel_grad = jax.vjp(lambda kernel: xla(x, kernel), kernel)[1](grad)[0]
    return lax.platform_dependent(kernel, grad, cpu=on_cpu, default=x_gradient), kernel_grad


def _turned_convolution(kernel: jax.Array, grad: jax.Array, *, border: int) -> jax.Array:
    """The gradient of x as a convolution with the kernel turned, written out as one.

    JAX's own leaves the channels of the kernel swapped, which XLA on CPU brings in order at the top level of a program
    only: in a loop it takes a path that is six times slower (64 channels, 256x256, two cores: 325 against 53 ms).
    """
    rest = kernel.shape[0] - 1 - border
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_general_dilated(grad, turned, (1, 1), [(rest, rest)] * 2, dimension_numbers=NHWC)


def _scattered_products(kernel: jax.Array, grad: jax.Array, *, border: int) -> jax.Array:
    """The gradient of x of few channels: one matrix product for all taps, then each tap's products added at its offset.

    64 to 3 channels, 8 images of 128x128 on one core: 7 instead of 26 ms.
    """
    size, _, inputs, outputs = kernel.shape
    _, height, width, _ = grad.shape
    # The pixels are not joined to rows of one matrix: XLA does so itself, once each device has its part of a picture.
    products = jnp.dot(grad, kernel.transpose(3, 0, 1, 2).reshape(outputs, -1))
    reach = size - 1
    products = jnp.pad(products, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    total = jnp.zeros((), grad.dtype)
    for i in range(size):
        for j in range(size):
            rows = slice(reach - i + border, 2 * reach - i + height - border)
            columns = slice(reach - j + border, 2 * reach - j + width - border)
            first = (i * size + j) * inputs
            total = total + products[:, rows, columns, first : first + inputs]
    return total
