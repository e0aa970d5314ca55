"""JAX's ambient precision of products: a setting of the thread, which programs take over when they are traced."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def ambient_precision() -> str | None:
    """What `jax.default_matmul_precision` has set around here; None = nothing has."""
    return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # defined by name, at run time


def with_ambient_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function at the precision of here, wherever it is called: in another thread, or after the block was left."""
    precision = ambient_precision()

    @functools.wraps(function)
    def bound(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.default_matmul_precision(precision):
            return function(*args, **kwargs)

    return bound
