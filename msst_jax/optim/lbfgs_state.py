"""What L-BFGS remembers: ring buffers of steps and changes of the gradient, in the shape of the parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike

MIN_CURVATURE = 1e-10  # torch.optim.LBFGS: `if ys > 1e-10`


class LbfgsState(NamedTuple):
    """History of the last steps; the arrays are ring buffers written at `stored % history_size`.

    "..." is the shape of the parameters if they are one array, such as pixels (H, W, 3), and else n; see `join_leaves`.
    """

    updates: jax.Array
    """Number of updates so far."""
    stored: jax.Array
    """Number of pairs stored so far."""
    gradient: jax.Array
    """Previous gradient, (...)."""
    step: jax.Array
    """Previous step, (...)."""
    steps: jax.Array
    """s: previous steps, (m, ...)."""
    changes: jax.Array
    """y: previous changes of the gradient, (m, ...)."""
    curvatures: jax.Array
    """1 / y.s, (m,)."""
    scale: jax.Array
    """gamma = y.s / y.Py of the last stored pair: gamma P is the initial inverse Hessian, P the preconditioner."""
    inverse: jax.Array
    """(m, m): R^-1 of the blocked form, with R[i, j] = s_i . y_j where pair i is not newer than j, else 0; rows and
    columns of empty slots are 0. The two loops need none and leave it as it is."""


ArrayFunction = Callable[[jax.Array], jax.Array]


def join_leaves(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """A pytree as one array, and the function back: a single leaf is that array, several are joined to a vector.

    A picture keeps its shape, so that one whose rows are on several devices stays where it is.
    """
    leaves, structure = jax.tree.flatten(tree)
    if len(leaves) == 1:
        return jnp.asarray(leaves[0]), lambda array: jax.tree.unflatten(structure, [array])
    return ravel_pytree(tree)


def initial_state(params: jax.Array, history_size: int, history_dtype: DTypeLike | None) -> LbfgsState:
    """The state before the first update; the type of the history is that of the parameters if None is given."""
    dtype = params.dtype
    history = jnp.zeros((history_size, *params.shape), history_dtype or dtype)
    return LbfgsState(
        updates=jnp.zeros((), jnp.int32),
        stored=jnp.zeros((), jnp.int32),
        gradient=jnp.zeros_like(params),
        step=jnp.zeros_like(params),
        steps=history,
        changes=jnp.zeros_like(history),
        curvatures=jnp.zeros(history_size, dtype),
        scale=jnp.ones((), dtype),
        inverse=jnp.zeros((history_size, history_size), dtype),
    )


def store_pair(state: LbfgsState, gradient: jax.Array, precondition: ArrayFunction) -> LbfgsState:
    """Stores the newest pair unless its curvature is too small (always so before the first step).

    Curvature and scale are those of the pair as it is stored, that is rounded to the type of the history: the inverse
    Hessian is then that of exact pairs nearby, and stays positive.
    """

    def rounded(array: jax.Array) -> jax.Array:
        return array.astype(state.steps.dtype).astype(gradient.dtype)

    step, change = rounded(state.step), rounded(gradient - state.gradient)
    curvature = contract(change, step, step.ndim)
    keep = curvature > MIN_CURVATURE
    slot = state.stored % state.curvatures.size

    # A skipped pair writes the old value back: XLA then updates the large history in place.
    def write(history: jax.Array, value: jax.Array) -> jax.Array:
        return history.at[slot].set(jnp.where(keep, value.astype(history.dtype), history[slot]))

    return state._replace(
        stored=state.stored + keep,
        steps=write(state.steps, step),
        changes=write(state.changes, change),
        curvatures=write(state.curvatures, 1.0 / curvature),
        scale=jnp.where(keep, curvature / contract(change, precondition(change), change.ndim), state.scale),
    )


def contract(a: jax.Array, b: jax.Array, axes: int) -> jax.Array:
    """The sum of the products over the last `axes` axes of a and the first of b; no platform rounds them to fewer bits.

    The axes stay apart, not joined to a vector, since one of them may be sharded. On a GPU, XLA makes fused sums of
    these products: they read a history once, widen a narrower one on the way, and depend on no tuning.
    """
    return jnp.tensordot(a, b, axes, precision=jax.lax.Precision.HIGHEST)
