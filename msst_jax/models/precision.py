"""The types that networks compute in; parameters, statistics and Gram matrices stay float32."""

import jax.numpy as jnp
from jax.typing import DTypeLike

COMPUTE_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def compute_dtype(name: str) -> DTypeLike:
    """ "float32" or "bfloat16" (config.dtype) as a type."""
    return COMPUTE_DTYPES[name]
