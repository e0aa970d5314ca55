"""2x2 average and max pooling with stride 2, as in torch (an odd last row or column is dropped)."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from msst_jax.ops.linear_map import Arrays, linear_map


def average_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, W//2, C). Source: torch.nn.AvgPool2d(2)."""
    return _windows(x).mean((2, 4))


@jax.custom_jvp
def max_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, W//2, C). Source: torch.nn.MaxPool2d(2).

    The gradient goes to the first maximum of each window, torch's rule. XLA's own gradient of
    `lax.reduce_window` (select-and-scatter) is correct too, but several times slower on CPU and GPU.
    """
    return _windows(x).max((2, 4))


@functools.partial(max_pool.defjvp, symbolic_zeros=True)
def _max_pool_jvp(primals: Arrays, tangents: tuple[jax.Array | SymbolicZero]) -> tuple[jax.Array, jax.Array]:
    pooled = max_pool(*primals)
    return pooled, linear_map(_max_pool_tangent, _max_pool_gradient, (*primals, pooled), tangents)


def _max_pool_tangent(saved: Arrays, tangent: jax.Array) -> jax.Array:
    places = zip(_first_maxima(*saved), _of_windows(tangent), strict=True)
    return functools.reduce(jnp.add, (jnp.where(first, here, 0) for first, here in places))


def _max_pool_gradient(saved: Arrays, grad: jax.Array) -> Arrays:
    x, pooled = saved
    grads = [jnp.where(first, grad, 0) for first in _first_maxima(x, pooled)]
    rows = [jnp.stack(grads[2 * i : 2 * i + 2], axis=3) for i in (0, 1)]
    full = jnp.stack(rows, axis=2).reshape(x.shape[0], x.shape[1] // 2 * 2, x.shape[2] // 2 * 2, x.shape[3])
    return (jnp.pad(full, [(0, a - b) for a, b in zip(x.shape, full.shape, strict=True)]),)


def _first_maxima(x: jax.Array, pooled: jax.Array) -> list[jax.Array]:
    """Whether the first maximum of each window is here, for each of its four places."""
    is_max = [values == pooled for values in _of_windows(x)]
    assigned = jnp.zeros_like(is_max[0])
    firsts = []
    for here in is_max:
        firsts.append(here & ~assigned)
        assigned = assigned | here
    return firsts


def _of_windows(x: jax.Array) -> list[jax.Array]:
    """The values (N, H//2, W//2, C) at each of the four places of all windows, row by row."""
    windows = _windows(x)
    return [windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]


def _windows(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, 2, W//2, 2, C)."""
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
