"""Forward mode: tangents and Hessian-vector products through the network, the formulas and both objectives."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from msst_jax.errors import UserError
from msst_jax.losses.functional import content_loss, gram, guided_gram, mixed_gram
from msst_jax.losses.guided_objective import guidance_of_masks, guided_stylization_loss
from msst_jax.losses.objective import (
    FeatureLayers,
    LossWeights,
    Targets,
    content_targets,
    mixed_style_targets,
    style_targets,
    stylization_loss,
)
from msst_jax.models.vgg import VGG
from msst_jax.ops import weighted_gram
from msst_jax.ops.convolution_vjp import padded_convolution, valid_convolution
from msst_jax.ops.pooling import average_pool, max_pool
from msst_jax.ops.weighted_gram import weighted_gram_products

TOLERANCE = 1e-9  # relative L2, float64
DIFFERENCES_TOLERANCE = 1e-6
STEP = 1e-5
LAYERS = FeatureLayers(("relu1_1", "relu2_1"), ("relu1_2",), (1.0, 0.5), (1.0,))
WEIGHTS = LossWeights(style=100.0, blend=20.0, content=1.0, tv=1e-3)
SIZE = (14, 18)

Scalar = Callable[[jax.Array], jax.Array]


class Case(NamedTuple):
    """A scalar function, where it is differentiated, and along what."""

    function: Scalar
    x: jax.Array
    direction: jax.Array


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def random(*shapes: tuple[int, ...]) -> list[jax.Array]:
    generator = np.random.default_rng(0)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


def case(function: Callable[..., jax.Array], *arguments: jax.Array) -> Case:
    """The function of all arguments, flat."""
    x, unravel = ravel_pytree(arguments)
    direction = np.random.default_rng(1).normal(size=x.shape)
    return Case(lambda flat: function(*unravel(flat)), x, jnp.asarray(direction / np.linalg.norm(direction)))


def operation(function: Callable[..., jax.Array], *shapes: tuple[int, ...]) -> Case:
    """The sum of what a function of arrays returns, made curved."""
    return case(lambda *arguments: jnp.sum(jnp.sin(function(*arguments))), *random(*shapes))


def objective(kind: str, pooling: str, *, remat: bool = False) -> Case:
    """An objective of two regions, over a network of random weights."""
    vgg = VGG("vgg16", deepest="relu2_1", pooling=pooling, dtype=jnp.float64, rngs=nnx.Rngs(0))
    generator = np.random.default_rng(2)
    photo, *styles = jnp.asarray(generator.uniform(size=(3, *SIZE, 3)))
    masks = jnp.asarray(generator.dirichlet([1, 1], SIZE))
    grams = [style_targets(vgg, style, LAYERS.style) for style in styles]
    stacked = jax.tree.map(lambda *values: jnp.concatenate(values), *grams)
    targets = Targets(stacked, content_targets(vgg, photo, LAYERS.content))
    pixels = jnp.asarray(generator.uniform(size=(2, *SIZE, 3)))
    if kind == "separate":
        return case(lambda x: stylization_loss(vgg, targets, masks, LAYERS, x, WEIGHTS, remat=remat)[0], pixels)
    guidance = guidance_of_masks(vgg, masks, LAYERS.style)
    return case(lambda x: guided_stylization_loss(vgg, targets, guidance, LAYERS, x, WEIGHTS)[0], pixels[0])


CASES: dict[str, Callable[[], Case]] = {
    "max_pool": lambda: operation(max_pool, (2, 7, 6, 3)),
    "average_pool": lambda: operation(average_pool, (2, 7, 6, 3)),
    "gram": lambda: operation(gram, (2, 7, 6, 3)),
    "guided_gram": lambda: operation(lambda x, guides: guided_gram(x, guides**2), (7, 6, 3), (7, 6, 2)),
    "content_loss": lambda: operation(content_loss, (1, 7, 6, 3), (1, 7, 6, 3)),
    "padded_convolution": lambda: operation(lambda *xs: padded_convolution(*xs, 1), (2, 7, 6, 3), (3, 3, 3, 5)),
    "valid_convolution 9x9": lambda: operation(valid_convolution, (2, 14, 16, 3), (9, 9, 3, 4)),
    "valid_convolution of stride 2": lambda: operation(
        lambda *xs: valid_convolution(*xs, 2), (2, 13, 16, 5), (3, 3, 5, 4)
    ),
    "separate, max": lambda: objective("separate", "max"),
    "separate, average": lambda: objective("separate", "average"),
    "guided, max": lambda: objective("guided", "max"),
    "guided, average": lambda: objective("guided", "average"),
}


def assert_near(ours: jax.Array, expected: jax.Array, tolerance: float = TOLERANCE) -> None:
    assert ours.dtype == jnp.float64
    assert float(jnp.linalg.norm(expected)) > 0
    assert float(jnp.linalg.norm(ours - expected) / jnp.linalg.norm(expected)) <= tolerance


@pytest.mark.parametrize("name", CASES)
def test_jvp_is_the_derivative_along_a_direction(name: str) -> None:
    function, x, direction = CASES[name]()

    @jax.jit
    def derivatives(x: jax.Array, direction: jax.Array) -> tuple[jax.Array, ...]:
        forward = jax.jvp(function, (x,), (direction,))[1]
        differences = (function(x + STEP * direction) - function(x - STEP * direction)) / (2 * STEP)
        return forward, jnp.vdot(jax.grad(function)(x), direction), differences

    forward, reverse, differences = derivatives(x, direction)
    assert_near(forward, reverse)
    assert_near(forward, differences, DIFFERENCES_TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_hessian_vector_products_of_all_modes_are_equal(name: str) -> None:
    function, x, direction = CASES[name]()
    gradient = jax.grad(function)

    @jax.jit
    def products(x: jax.Array, direction: jax.Array) -> tuple[jax.Array, ...]:
        reverse_over_reverse = jax.grad(lambda x: jnp.vdot(gradient(x), direction))(x)
        forward_over_reverse = jax.jvp(gradient, (x,), (direction,))[1]
        reverse_over_forward = jax.grad(lambda x: jax.jvp(function, (x,), (direction,))[1])(x)
        return reverse_over_reverse, forward_over_reverse, reverse_over_forward

    expected, *others = products(x, direction)
    for other in others:
        assert_near(other, expected)


@pytest.mark.parametrize("name", ["guided_gram", "max_pool", "padded_convolution"])
def test_hessian_vector_products_of_a_batch_are_those_of_each_direction(name: str) -> None:
    function, x, direction = CASES[name]()

    def product(direction: jax.Array) -> jax.Array:
        return jax.jvp(jax.grad(function), (x,), (direction,))[1]

    together = jax.jit(jax.vmap(product))(jnp.stack([direction, direction[::-1]]))
    for each, along in zip(together, (direction, direction[::-1]), strict=True):
        assert_near(each, jax.jit(product)(along))


def test_tangents_of_one_argument_alone_leave_the_others_fixed() -> None:
    x, kernel, along = random((2, 7, 6, 3), (3, 3, 3, 5), (3, 3, 3, 5))
    tangent = jax.jvp(lambda kernel: padded_convolution(x, kernel, 1), (kernel,), (along,))[1]
    assert_near(tangent, padded_convolution(x, along, 1))


def test_tangents_of_weighted_products_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    flat, weights, *along = random((20, 6), (20, 3), (20, 6), (20, 3))

    def tangent() -> jax.Array:
        return jax.jvp(weighted_gram_products, (flat, weights), tuple(along))[1]

    whole = tangent()
    monkeypatch.setattr(weighted_gram, "CPU_CHUNK", 6 * 7)
    assert_near(tangent(), whole)


def test_the_tangent_of_a_maximum_that_occurs_twice_is_that_of_the_first() -> None:
    along = jnp.arange(4.0).reshape(1, 2, 2, 1) + 1
    assert jax.jvp(max_pool, (jnp.zeros((1, 2, 2, 1)),), (along,))[1].item() == 1


@pytest.mark.parametrize("function", [gram, lambda x: guided_gram(x[0], jnp.ones((64, 64, 1), jnp.float32))])
def test_tangents_of_gram_matrices_of_bfloat16_features_are_float32(function: Callable[..., jax.Array]) -> None:
    features, along = (each.astype(jnp.bfloat16) for each in random((1, 64, 64, 8), (1, 64, 64, 8)))
    ours = jax.jvp(function, (features,), (along,))[1]
    exact = jax.jvp(function, (features.astype(jnp.float32),), (along.astype(jnp.float32),))[1]
    assert ours.dtype == exact.dtype == jnp.float32
    # Summed in bfloat16, 4,096 products would be wrong by several percent.
    assert float(jnp.abs(ours - exact).max()) <= 2e-3 * float(jnp.abs(exact).max())


def test_style_of_several_paintings_stays_float64() -> None:
    grams = random((1, 4, 4), (1, 4, 4))
    mixed = mixed_style_targets([{"relu1_1": each} for each in grams], [0.3, 0.7])["relu1_1"]
    assert_near(mixed, mixed_gram(jnp.concatenate(grams), jnp.array([0.3, 0.7])))


@pytest.mark.slow
def test_remat_has_tangents_and_refuses_second_derivatives_instead_of_taking_them_for_zero() -> None:
    function, x, direction = objective("separate", "max", remat=True)
    plain, _, _ = objective("separate", "max")
    tangents = [jax.jit(lambda x, f=f: jax.jvp(f, (x,), (direction,))[1])(x) for f in (function, plain)]
    assert_near(*tangents)
    with pytest.raises(UserError, match="remat=False"):
        jax.jvp(jax.grad(function), (x,), (direction,))
