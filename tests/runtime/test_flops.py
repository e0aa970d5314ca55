"""Operations are counted where the compiler counts none: as many as XLA counts for a CPU."""

import jax
import jax.numpy as jnp
import pytest

from msst_jax.losses.functional import gram
from msst_jax.ops.convolution_vjp import padded_convolution
from msst_jax.runtime.flops import count_flops


def flops(function, *shapes: tuple[int, ...]) -> float:
    return count_flops(
        jax.jit(function).trace(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).jaxpr.jaxpr
    )


def convolved(x: jax.Array, kernel: jax.Array, groups: int = 1, stride: int = 1) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=numbers, feature_group_count=groups
    )


def test_matrix_product_takes_two_for_every_multiplication() -> None:
    assert flops(jnp.matmul, (3, 5, 7), (3, 7, 11)) == 2 * 3 * 5 * 7 * 11


@pytest.mark.parametrize(("groups", "stride", "side"), [(1, 1, 6), (1, 2, 3), (4, 1, 6)])
def test_convolution_takes_two_for_every_weight_at_every_output(groups: int, stride: int, side: int) -> None:
    counted = flops(lambda x, k: convolved(x, k, groups, stride), (2, 8, 8, 4), (3, 3, 4 // groups, 16))
    assert counted == 2 * (2 * side * side * 16) * (3 * 3 * 4 // groups)


def test_loops_count_as_often_as_they_run_and_calls_are_looked_into() -> None:
    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 5, lambda _, y: jax.jit(jnp.matmul)(y, y), x)

    assert flops(looped, (4, 4)) == 5 * 2 * 4**3


def test_of_the_branches_of_a_condition_the_largest_counts() -> None:
    def chosen(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y @ y, x)

    assert flops(chosen, (4, 4)) == 2 * 2 * 4**3


def test_a_gradient_counts_as_xla_counts_it() -> None:
    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.square(convolved(x, kernel)).sum()

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 16, 16, 8), (3, 3, 8, 32))]
    traced = jax.jit(jax.grad(loss, argnums=1)).trace(*shapes)
    assert count_flops(traced.jaxpr.jaxpr) == pytest.approx(traced.lower().cost_analysis()["flops"], rel=0.05)


def test_gradients_written_by_hand_are_counted_and_those_that_nobody_asks_for_are_not():
    """Of a frozen convolution as of one that is trained, and of a Gram matrix."""
    image, kernel = jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 16, 32))
    product = 2.0 * 8 * 8 * 9 * 16 * 32

    def loss(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(padded_convolution(image, kernel, 1)))

    for asked, products in (((0,), 2), ((0, 1), 3)):
        gradient = jax.make_jaxpr(jax.grad(loss, argnums=asked))(image, kernel)
        assert count_flops(gradient.jaxpr) == products * product
    squared = jax.make_jaxpr(jax.grad(lambda features: jnp.sum(jnp.square(gram(features)))))(image)
    assert count_flops(squared.jaxpr) == 2 * 2.0 * 8 * 8 * 16 * 16
