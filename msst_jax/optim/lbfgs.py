"""L-BFGS with torch's rules, as an optax gradient transformation.

Equal to torch.optim.LBFGS(line_search_fn=None), iterate by iterate. It differs from optax.lbfgs in three rules:
the first step is scaled by `min(1, 1 / |g|_1)`, the stored step is the requested one (not the difference of the
parameters, which would include rounding and clamping), and pairs with y.s <= 1e-10 are skipped.
Source: Nocedal & Wright, Numerical Optimization, algorithm 7.4 (two-loop recursion).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

MIN_CURVATURE = 1e-10  # torch.optim.LBFGS: `if ys > 1e-10`


class LbfgsState(NamedTuple):
    """History of the last steps; the arrays are ring buffers written at `stored % history_size`."""

    updates: jax.Array
    """Number of updates so far."""
    stored: jax.Array
    """Number of pairs stored so far."""
    gradient: jax.Array
    """Previous gradient, (n,)."""
    step: jax.Array
    """Previous step, (n,)."""
    steps: jax.Array
    """s: previous steps, (m, n)."""
    changes: jax.Array
    """y: previous changes of the gradient, (m, n)."""
    curvatures: jax.Array
    """1 / y.s, (m,)."""
    scale: jax.Array
    """gamma = y.s / y.Py of the last stored pair: gamma P is the initial inverse Hessian, P the preconditioner."""


Preconditioner = Callable[[Any], Any]
"""A function of the parameters; linear, symmetric and positive."""

FlatFunction = Callable[[jax.Array], jax.Array]


def torch_lbfgs(
    learning_rate: float = 1.0,
    history_size: int = 100,
    max_step: float = math.inf,
    preconditioner: Preconditioner | None = None,
) -> optax.GradientTransformation:
    """L-BFGS without line search, iterate by iterate equal to torch.optim.LBFGS with its tolerances at 0.

    torch runs up to `max_iter` iterations per call of `step`; here one update is one iteration, and each
    needs one gradient. Memory: 2 * history_size * size of the parameters.

    Args:
      learning_rate: factor of every step.
      history_size: number of pairs kept (m).
      max_step: longest step, as the root mean square over all parameters; a longer one is scaled down. torch has no
        such limit, and its first steps with little history can overshoot far.
      preconditioner: the initial inverse Hessian, which is then scaled to fit the last pair; None for torch's, the
        identity.

    Returns:
      An optax transformation, for parameters of any shapes.

    Raises:
      ValueError: history_size below 1.
    """
    if history_size < 1:
        raise ValueError(f"history_size must be at least 1, got {history_size}")

    def init(params: optax.Params) -> LbfgsState:
        flat, _ = ravel_pytree(params)
        n, dtype = flat.size, flat.dtype
        return LbfgsState(
            updates=jnp.zeros((), jnp.int32),
            stored=jnp.zeros((), jnp.int32),
            gradient=jnp.zeros(n, dtype),
            step=jnp.zeros(n, dtype),
            steps=jnp.zeros((history_size, n), dtype),
            changes=jnp.zeros((history_size, n), dtype),
            curvatures=jnp.zeros(history_size, dtype),
            scale=jnp.ones((), dtype),
        )

    def update(gradients: optax.Updates, state: LbfgsState, params: Any = None) -> tuple[optax.Updates, LbfgsState]:
        del params
        gradient, unravel = ravel_pytree(gradients)

        def precondition(flat: jax.Array) -> jax.Array:
            return flat if preconditioner is None else ravel_pytree(preconditioner(unravel(flat)))[0]

        state = _store_pair(state, gradient, precondition)
        direction = _direction(state, gradient, precondition)
        first_factor = jnp.minimum(1.0, 1.0 / jnp.sum(jnp.abs(direction)))
        factor = jnp.where(state.updates == 0, first_factor, 1.0) * learning_rate
        if math.isfinite(max_step):
            rms = jnp.sqrt(jnp.mean(jnp.square(direction)))
            factor = jnp.minimum(factor, max_step / rms)
        step = direction * factor
        state = state._replace(updates=state.updates + 1, gradient=gradient, step=step)
        return unravel(step), state

    return optax.GradientTransformation(init, update)


def _store_pair(state: LbfgsState, gradient: jax.Array, precondition: FlatFunction) -> LbfgsState:
    """Stores the newest pair unless its curvature is too small (always so before the first step)."""
    change = gradient - state.gradient
    curvature = jnp.vdot(change, state.step)
    keep = curvature > MIN_CURVATURE
    slot = state.stored % state.curvatures.size

    # A skipped pair writes the old value back: XLA then updates the large history in place.
    def write(history: jax.Array, value: jax.Array) -> jax.Array:
        return history.at[slot].set(jnp.where(keep, value, history[slot]))

    return state._replace(
        stored=state.stored + keep,
        steps=write(state.steps, state.step),
        changes=write(state.changes, change),
        curvatures=write(state.curvatures, 1.0 / curvature),
        scale=jnp.where(keep, curvature / jnp.vdot(change, precondition(change)), state.scale),
    )


def _direction(state: LbfgsState, gradient: jax.Array, precondition: FlatFunction) -> jax.Array:
    """The direction -H g by the two-loop recursion, from the newest pair to the oldest and back."""
    size = state.curvatures.size
    pairs = jnp.minimum(state.stored, size)

    def backward(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, alphas = carry
        slot = (state.stored - 1 - i) % size
        alpha = jnp.vdot(state.steps[slot], q) * state.curvatures[slot]
        return q - alpha * state.changes[slot], alphas.at[slot].set(alpha)

    def forward(i: jax.Array, r: jax.Array) -> jax.Array:
        slot = (state.stored - pairs + i) % size
        beta = jnp.vdot(state.changes[slot], r) * state.curvatures[slot]
        return r + state.steps[slot] * (alphas[slot] - beta)

    q, alphas = jax.lax.fori_loop(0, pairs, backward, (-gradient, jnp.zeros_like(state.curvatures)))
    return jax.lax.fori_loop(0, pairs, forward, precondition(q) * state.scale)
