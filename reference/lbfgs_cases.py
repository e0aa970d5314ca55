"""L-BFGS test problem, and the iterates of torch.optim.LBFGS and of msst_jax on it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from msst_jax.optim.lbfgs import LbfgsState, torch_lbfgs

SIZE = 200
CURVATURE = 10 ** np.linspace(-1.5, 1.5, SIZE)
TARGET = np.random.default_rng(1).uniform(-0.1, 1.1, SIZE)
START = np.random.default_rng(2).uniform(0, 1, SIZE)

FLOAT64_TOLERANCE = 1e-9  # of 40 iterates
FLOAT32_TOLERANCE = 1e-4  # of 10 iterates

Loss = Callable[[Any, Any], Any]
"""loss(x, xp) of a vector x (n,); xp is torch or jax.numpy."""


def ill_conditioned(x: Any, xp: Any) -> Any:
    """Quadratic of condition number 1000 plus a quartic in neighbor differences; 40 iterations do not solve it."""
    curvature, target = xp.asarray(CURVATURE, dtype=x.dtype), xp.asarray(TARGET, dtype=x.dtype)
    return (curvature * (x - target) ** 2).sum() / 2 + ((x - xp.roll(x, 1)) ** 4).sum()


def torch_iterates(
    loss: Loss, count: int, dtype: torch.dtype, *, lr: float = 1, history: int = 100, clamp: bool = False
) -> np.ndarray:
    """The first `count` points that torch.optim.LBFGS evaluates, (count, n)."""
    x = torch.tensor(START, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([x], lr=lr, max_iter=20, history_size=history)
    points: list[np.ndarray] = []

    def closure() -> torch.Tensor:
        if clamp:
            x.data.clamp_(0, 1)
        points.append(x.detach().numpy().copy())
        optimizer.zero_grad()
        value = loss(x, torch)
        value.backward()
        return value

    while len(points) < count:
        evaluated = len(points)
        optimizer.step(closure)
        assert len(points) == evaluated + 20, "the optimizer converged; use a harder problem"
    return np.stack(points)[:count]


def our_iterates(
    loss: Loss, count: int, dtype: Any, *, lr: float = 1, history: int = 100, clamp: bool = False, **options: Any
) -> tuple[np.ndarray, LbfgsState]:
    """The first `count` points that `torch_lbfgs` evaluates, (count, n), and its last state; `options` are its own."""
    transform = torch_lbfgs(lr, history, **options)

    @jax.jit
    def step(x: jax.Array, state: LbfgsState) -> tuple[jax.Array, LbfgsState]:
        updates, state = transform.update(jax.grad(loss)(x, jnp), state)
        x = optax.apply_updates(x, updates)
        return (jnp.clip(x, 0, 1) if clamp else x), state

    x = jnp.asarray(START, dtype)
    state = transform.init(x)
    points = []
    for _ in range(count):
        points.append(np.asarray(x))
        x, state = step(x, state)
    return np.stack(points), state
