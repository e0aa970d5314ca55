"""Convolutions with custom gradients for training, in the form that is fastest on the platform."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from msst_jax.ops.convolution import NHWC

FEW_CHANNELS = 4  # channels, such as those of a picture


# --- with gradients, for training
@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def valid_convolution(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution without padding, for training: its gradients too are fast on the platform.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, C, D).
      stride: step between outputs.

    Returns:
      (N, (H - k) // stride + 1, (W - k) // stride + 1, D).
    """
    on_cpu = _blocked if _suits_blocks(x, kernel, stride) and kernel.shape[2] <= FEW_CHANNELS else _padded_and_cropped
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(on_cpu, stride=stride),
        default=functools.partial(plain_valid_convolution, stride=stride),
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return valid_convolution(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    on_cpu = functools.partial(_gradients_on_cpu, stride=stride)
    return lax.platform_dependent(*saved, grad, cpu=on_cpu, default=functools.partial(_gradients, stride=stride))


valid_convolution.defvjp(_forward, _backward)


def plain_valid_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """As `valid_convolution`, by XLA's own convolution and with its own gradients."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=NHWC)


def _gradients(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> tuple[jax.Array, jax.Array]:
    _, vjp = jax.vjp(functools.partial(plain_valid_convolution, stride=stride), x, kernel)
    return vjp(grad)


def _padded_and_cropped(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """One ring of outputs too many, then dropped: without padding XLA on CPU takes a way 2 to 10 times slower."""
    padding = [(stride, stride)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)[:, 1:-1, 1:-1]


def _gradients_on_cpu(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> tuple[jax.Array, jax.Array]:
    """Each of the two in the form that is fastest there. XLA drops the one that is not used."""
    size, _, _, outputs = kernel.shape
    if _suits_blocks(x, kernel, stride) and outputs <= FEW_CHANNELS:
        _, vjp = jax.vjp(functools.partial(_blocked, stride=stride), x, kernel)
        return vjp(grad)
    if stride > 1:
        _, vjp = jax.vjp(lambda x: _padded_and_cropped(x, kernel, stride=stride), x)
        of_x = vjp(grad)[0]
    else:
        mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
        of_x = lax.conv_general_dilated(grad, mirrored, (1, 1), [(size - 1, size - 1)] * 2, dimension_numbers=NHWC)
    return of_x, _gradient_of_kernel(x, kernel, grad, stride=stride)


def _gradient_of_kernel(x: jax.Array, kernel: jax.Array, grad: jax.Array, *, stride: int) -> jax.Array:
    """For 3x3 kernels one image at a time, in half the time of the whole batch; for 2x2 kernels as products."""

    def of_kernel(x: jax.Array, grad: jax.Array) -> jax.Array:
        _, vjp = jax.vjp(lambda kernel: _padded_and_cropped(x, kernel, stride=stride), kernel)
        return vjp(grad)[0]

    size, _, inputs, outputs = kernel.shape
    if size == 2 and stride == 1:
        height, width = grad.shape[1:3]
        flat = grad.reshape(-1, outputs)
        parts = [x[:, i : i + height, j : j + width].reshape(-1, inputs) for i in (0, 1) for j in (0, 1)]
        return jnp.stack([jnp.dot(part.T, flat) for part in parts]).reshape(kernel.shape)
    if size == 3:
        return functools.reduce(jnp.add, (of_kernel(x[i : i + 1], grad[i : i + 1]) for i in range(len(x))))
    return of_kernel(x, grad)


# --- of pictures
@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def picture_convolution(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    """Convolution of few channels, with a fast gradient of them.

    Args:
      x: (N, H, W, C), C few.
      kernel: (k, k, C, D).
      border: rows of zeros on every side.

    Returns:
      (N, H + 2 border - k + 1, W + 2 border - k + 1, D).
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), [(border, border)] * 2, dimension_numbers=NHWC)


def _picture_forward(x: jax.Array, kernel: jax.Array, border: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return picture_convolution(x, kernel, border), (x, kernel)


def _picture_backward(border: int, saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    plain = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), padding=[(border, border)] * 2)
    plain = functools.partial(plain, dimension_numbers=NHWC)

    def of_x(kernel: jax.Array, grad: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: plain(x, kernel), x)[1](grad)[0]

    on_cpu = functools.partial(_scattered_products, border=border)
    of_kernel = jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](grad)[0]
    return lax.platform_dependent(kernel, grad, cpu=on_cpu, default=of_x), of_kernel


picture_convolution.defvjp(_picture_forward, _picture_backward)


def _scattered_products(kernel: jax.Array, grad: jax.Array, *, border: int) -> jax.Array:
    """The gradient of x: the products of all taps at once, each then added where its tap lies.

    64 to 3 channels, 8 pictures of 128x128 on one core: 7 instead of 26 ms.
    """
    size, _, inputs, outputs = kernel.shape
    n, height, width, _ = grad.shape
    taps = kernel.transpose(3, 0, 1, 2).reshape(outputs, -1)
    products = jnp.dot(grad.reshape(-1, outputs), taps).reshape(n, height, width, -1)
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


# --- large kernels with pictures on one side, in blocks
def _suits_blocks(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether `_blocked` can be used and may pay."""
    return kernel.shape[0] > 3 and stride == 1 and x.shape[1] % 2 == 0 == x.shape[2] % 2


def _blocked(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Stride 1 on pictures of half the size with four times the channels, which suits XLA on CPU if they are few.

    9x9 on 128x128, one core: 3 to 32 channels, 4 pictures, 7 instead of 31 ms; gradient of the kernel of 32 to 3
    channels, 8 pictures, 55 instead of 115 ms; its forward is slower.

    Args:
      x: (N, H, W, C), H and W even.
      kernel: (k, k, C, D), k odd.
      stride: 1.
    """
    blocks = _rows_to_blocks(jnp.moveaxis(_rows_to_blocks(kernel), 3, 0))  # (m, 2, 2, m, 2, 2, C, D), columns first
    reach, inputs, outputs = len(blocks), *kernel.shape[2:]
    blocks = blocks.transpose(3, 0, 4, 1, 6, 5, 2, 7).reshape(reach, reach, 4 * inputs, 4 * outputs)
    n, height, width, _ = x.shape
    halves = x.reshape(n, height // 2, 2, width // 2, 2, inputs).transpose(0, 1, 3, 2, 4, 5)
    found = _padded_and_cropped(halves.reshape(n, height // 2, width // 2, -1), blocks, stride=stride)
    return _interleaved(found.reshape(*found.shape[:3], 2, 2, outputs))


def _rows_to_blocks(kernel: jax.Array) -> jax.Array:
    """Rows of taps (k, ...) to (m, 2, 2, ...), m = (k + 1) / 2: for row 2i + a in and 2j + b out, tap (i - j, a, b)."""
    rest = [(0, 0)] * (kernel.ndim - 1)
    shifted = [jnp.pad(kernel, [(b, 1 - b), *rest]).reshape(-1, 2, *kernel.shape[1:]) for b in (0, 1)]
    return jnp.stack(shifted, axis=2)


def _interleaved(phases: jax.Array) -> jax.Array:
    """(N, H, W, 2, 2, D) to (N, 2H, 2W, D)."""
    n, height, width, _, _, channels = phases.shape
    return phases.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, channels)
