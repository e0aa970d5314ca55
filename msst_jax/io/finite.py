"""The check that numbers are finite, before they become weights or pictures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.errors import DivergenceError


def check_finite(values: Any, message: str) -> None:
    """Raises DivergenceError with a message if an array of floats in a pytree has a NaN or an infinity."""
    for leaf in jax.tree.leaves(values):
        array = np.asarray(leaf)
        if np.issubdtype(array.dtype, np.floating) and not np.all(np.isfinite(array)):
            raise DivergenceError(message)


@jax.jit
def all_finite(values: Any) -> jax.Array:
    """Whether no array of floats in a pytree has a NaN or an infinity: one boolean, found where the arrays are."""
    floats = [leaf for leaf in jax.tree.leaves(values) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.asarray(True), *(jnp.isfinite(leaf).all() for leaf in floats)]).all()
