"""L-BFGS with torch's rules, as an optax gradient transformation.

Equal to torch.optim.LBFGS(line_search_fn=None), iterate by iterate. It differs from optax.lbfgs in three rules:
the first step is scaled by `min(1, 1 / |g|_1)`, the stored step is the requested one (not the difference of the
parameters, which would include rounding and clamping), and pairs with y.s <= 1e-10 are skipped.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from msst_jax.optim.lbfgs_direction import FORMS, Form, direction
from msst_jax.optim.lbfgs_state import LbfgsState, initial_state, join_leaves, store_pair

Preconditioner = Callable[[Any], Any]
"""A function of the parameters; linear, symmetric and positive."""


def torch_lbfgs(
    learning_rate: float = 1.0,
    history_size: int = 100,
    max_step: float = math.inf,
    preconditioner: Preconditioner | None = None,
    *,
    history_dtype: DTypeLike | None = None,
    form: Form = "by_platform",
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
      history_dtype: of the pairs kept; None for that of the parameters. bfloat16 halves the memory of float32 and, on
        an accelerator, the time of an update; all sums stay in the type of the parameters.
      form: "by_platform" computes the direction by two loops on a CPU and without a loop on an accelerator; "loops" or
        "blocked" everywhere. They are equal up to rounding.

    Returns:
      An optax transformation, for parameters of any shapes.

    Raises:
      ValueError: history_size below 1, or an unknown form.
    """
    if history_size < 1:
        raise ValueError(f"history_size must be at least 1, got {history_size}")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")

    def init(params: optax.Params) -> LbfgsState:
        return initial_state(join_leaves(params)[0], history_size, history_dtype)

    def update(gradients: optax.Updates, state: LbfgsState, params: Any = None) -> tuple[optax.Updates, LbfgsState]:
        del params
        gradient, split = join_leaves(gradients)

        def precondition(array: jax.Array) -> jax.Array:
            return array if preconditioner is None else join_leaves(preconditioner(split(array)))[0]

        state = store_pair(state, gradient, precondition)
        towards, inverse = direction(state, gradient, precondition, form)
        first_factor = jnp.minimum(1.0, 1.0 / jnp.sum(jnp.abs(towards)))
        factor = jnp.where(state.updates == 0, first_factor, 1.0) * learning_rate
        if math.isfinite(max_step):
            rms = jnp.sqrt(jnp.mean(jnp.square(towards)))
            factor = jnp.minimum(factor, max_step / rms)
        step = towards * factor
        state = state._replace(updates=state.updates + 1, gradient=gradient, step=step, inverse=inverse)
        return split(step), state

    return optax.GradientTransformation(init, update)
