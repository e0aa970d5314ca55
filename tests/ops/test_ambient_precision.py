"""Gradients that are written by hand compute at the precision of the block that they were asked for in."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from msst_jax.losses.functional import gram, guided_gram
from msst_jax.ops.ambient_precision import ambient_precision, with_ambient_precision
from msst_jax.ops.convolution_vjp import padded_convolution, valid_convolution
from tests.helpers.lowered_products import lowered_products

IMAGES = jnp.ones((1, 8, 8, 3))
FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gram": gram,
    "guided_gram": lambda x: guided_gram(x[0], jnp.ones((8, 8, 2))),
    "padded_convolution": lambda x: padded_convolution(x, jnp.ones((3, 3, 3, 4)), 1),
    "valid_convolution": lambda x: valid_convolution(x, jnp.ones((3, 3, 3, 4))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("precision", ["highest", None])
def test_a_backward_pass_that_is_traced_after_its_block_has_the_precision_of_the_block(
    name: str, precision: str | None
):
    with jax.default_matmul_precision(precision):
        value, pull = jax.vjp(FUNCTIONS[name], IMAGES)
    with jax.default_matmul_precision(None if precision else "highest"):
        products = lowered_products(pull, value)
    assert {*products} == {f"f32 {'HIGHEST' if precision else 'DEFAULT'}"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_of_a_gradient_has_it_too(name: str):
    def slope(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.grad(lambda x: jnp.sum(FUNCTIONS[name](x) ** 2))(x) ** 2)

    with jax.default_matmul_precision("highest"):
        assert {*lowered_products(jax.grad(slope), IMAGES)} == {"f32 HIGHEST"}


def test_a_function_keeps_the_precision_it_was_made_at_and_leaves_that_of_its_callers():
    with jax.default_matmul_precision("high"):
        kept = with_ambient_precision(ambient_precision)
    before = ambient_precision()
    assert (kept(), ambient_precision()) == ("high", before)
