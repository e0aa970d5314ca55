"""2x2 average and max pooling with stride 2, as in torch (an odd last row or column is dropped)."""

import jax
import jax.numpy as jnp


def average_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, W//2, C). Source: torch.nn.AvgPool2d(2)."""
    return _windows(x).mean((2, 4))


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, W//2, C). Source: torch.nn.MaxPool2d(2).

    The gradient goes to the first maximum of each window, torch's rule. XLA's own gradient of
    `lax.reduce_window` (select-and-scatter) is correct too, but several times slower on CPU and GPU.
    """
    return _windows(x).max((2, 4))


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    pooled = max_pool(x)
    return pooled, (x, pooled)


def _max_pool_backward(residuals: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array]:
    x, pooled = residuals
    windows = _windows(x)
    is_max = [windows[:, :, i, :, j] == pooled for i in (0, 1) for j in (0, 1)]
    assigned = jnp.zeros_like(is_max[0])
    grads = []
    for here in is_max:
        grads.append(jnp.where(here & ~assigned, grad, 0))
        assigned = assigned | here
    rows = [jnp.stack(grads[2 * i : 2 * i + 2], axis=3) for i in (0, 1)]
    full = jnp.stack(rows, axis=2).reshape(x.shape[0], x.shape[1] // 2 * 2, x.shape[2] // 2 * 2, x.shape[3])
    return (jnp.pad(full, [(0, a - b) for a, b in zip(x.shape, full.shape, strict=True)]),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _windows(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, H//2, 2, W//2, 2, C)."""
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
