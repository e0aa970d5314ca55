"""A value whose gradient is computed along with it, in whatever order saves memory."""

from typing import NoReturn

import jax
import jax.numpy as jnp

from msst_jax.errors import UserError


@jax.custom_jvp
def with_gradient(value: jax.Array, _gradient: jax.Array, _x: jax.Array) -> jax.Array:
    """The value of a function of x whose gradient there is known: differentiable only in x, and only once.

    Raises:
      UserError: a second derivative is asked for.
    """
    return value


@with_gradient.defjvp
def _with_gradient_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    (value, gradient, x), (by_the_rest, _, direction) = primals, tangents
    return value, by_the_rest + jnp.sum(_constant(gradient, x) * direction)


@jax.custom_jvp
def _constant(gradient: jax.Array, _x: jax.Array) -> jax.Array:
    """The gradient at x, of which the derivative by x is not known; taken for a constant it would be zero."""
    return gradient


@_constant.defjvp
def _constant_jvp(*_: object) -> NoReturn:
    raise UserError(
        "with remat or tiles the loss is differentiable only once; use remat=False and tiles=1 for second derivatives"
    )
