"""The direction of L-BFGS in two forms of one formula: two loops over the pairs, or blocked, without a loop.

Each turn of the loops needs the one before: for m pairs an accelerator runs 2 m turns of several small kernels, and its
host waits for the condition of each. The blocked form is four products with the whole history. On a CPU the loops are
faster: nothing waits there, and they leave empty slots out.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from msst_jax.optim.lbfgs_state import ArrayFunction, LbfgsState, contract

Form = Literal["by_platform", "loops", "blocked"]
"""by_platform: loops where the program is compiled for a CPU, blocked for all else."""
FORMS: tuple[Form, ...] = get_args(Form)

DirectionAndInverse = tuple[jax.Array, jax.Array]


def direction(
    state: LbfgsState, gradient: jax.Array, precondition: ArrayFunction, form: Form = "by_platform"
) -> DirectionAndInverse:
    """The direction -H g of a step, and `LbfgsState.inverse` after it.

    Args:
      state: with the newest pair in it.
      gradient: g, in the shape of the parameters.
      precondition: P of the initial inverse Hessian.
      form: of the computation; the results are equal up to rounding.
    """
    forms: dict[Form, Callable[[LbfgsState, jax.Array], DirectionAndInverse]] = {
        "loops": partial(_two_loops, precondition=precondition),
        "blocked": partial(_blocked, precondition=precondition),
    }
    if form == "by_platform":
        return jax.lax.platform_dependent(state, gradient, cpu=forms["loops"], default=forms["blocked"])
    return forms[form](state, gradient)


def _two_loops(state: LbfgsState, gradient: jax.Array, *, precondition: ArrayFunction) -> DirectionAndInverse:
    """From the newest pair to the oldest and back: Nocedal & Wright, Numerical Optimization, algorithm 7.4."""
    size = state.curvatures.size
    pairs = jnp.minimum(state.stored, size)

    def row(history: jax.Array, slot: jax.Array) -> jax.Array:
        return history[slot].astype(gradient.dtype)

    def backward(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, alphas = carry
        slot = (state.stored - 1 - i) % size
        alpha = contract(row(state.steps, slot), q, q.ndim) * state.curvatures[slot]
        return q - alpha * row(state.changes, slot), alphas.at[slot].set(alpha)

    def forward(i: jax.Array, r: jax.Array) -> jax.Array:
        slot = (state.stored - pairs + i) % size
        beta = contract(row(state.changes, slot), r, r.ndim) * state.curvatures[slot]
        return r + row(state.steps, slot) * (alphas[slot] - beta)

    q, alphas = jax.lax.fori_loop(0, pairs, backward, (-gradient, jnp.zeros_like(state.curvatures)))
    return jax.lax.fori_loop(0, pairs, forward, precondition(q) * state.scale), state.inverse


def _blocked(state: LbfgsState, gradient: jax.Array, *, precondition: ArrayFunction) -> DirectionAndInverse:
    """The compact form of Byrd, Nocedal & Schnabel (1994), "Representations of quasi-Newton matrices", theorem 2.2.

    H g = r + S R^-T (D p - Y^T r), with p = R^-1 S^T g, r = gamma P (g - Y p), D = diag(s . y); S and Y have the pairs
    as columns. The rows of R^-1 are kept by slot, so that nothing is sorted by age.
    """
    newest = (state.stored - 1) % state.curvatures.size
    s_gradient = _products(state.steps, gradient)
    s_newest = _products(state.steps, state.changes[newest].astype(gradient.dtype))
    inverse = _with_pair(state.inverse, newest, s_newest, state.curvatures[newest])
    p = _products(inverse, s_gradient)
    r = precondition(gradient - _combination(state.changes, p)) * state.scale
    diagonal = jnp.where(state.curvatures > 0, 1.0 / state.curvatures, 0.0)
    u = _combination(inverse, diagonal * p - _products(state.changes, r))
    return -(r + _combination(state.steps, u)), inverse


def _with_pair(inverse: jax.Array, newest: jax.Array, s_newest: jax.Array, curvature: jax.Array) -> jax.Array:
    """R^-1 (m, m) with the column of the newest pair, whose slot the oldest one leaves; again, it changes nothing.

    A triangle without its first row and column is the inverse of R without them, and the last column of an inverse is
    -R^-1 c / d over 1 / d, where c over d is that of R: no error grows with the updates.

    Args:
      inverse: R^-1 before.
      newest: slot of the pair.
      s_newest: (m,) s_i . y of the newest pair.
      curvature: 1 / d.
    """
    own = jnp.arange(s_newest.size) == newest
    others = jnp.where(own[:, None] | own, 0.0, inverse)
    column = jnp.where(own, 1.0, -_products(others, s_newest)) * curvature
    return jnp.where(own, column[:, None], others)


def _products(rows: jax.Array, array: jax.Array) -> jax.Array:
    """(m,): the inner product of each of the rows (m, ...) with an array (...)."""
    return contract(rows.astype(array.dtype), array, array.ndim)


def _combination(rows: jax.Array, factors: jax.Array) -> jax.Array:
    """(...): the sum of the rows (m, ...), each by its factor (m,)."""
    return contract(factors, rows.astype(factors.dtype), 1)
