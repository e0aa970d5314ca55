"""Every loss function and its gradient equal the formula in PyTorch with autograd."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.losses.functional import blend_loss, content_loss, gram, guided_gram, style_loss, total_variation
from msst_jax.losses.objective import LossWeights
from reference.loss_formulas import (
    FORMULA_TOLERANCE,
    Formula,
    formulas,
    normal,
    style_distances,
    uniform,
    value_and_gradient_of_ours,
    value_and_gradient_of_torch,
)


def assert_near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=FORMULA_TOLERANCE * np.abs(theirs).max())


def assert_equals_torch(formula: Formula) -> None:
    ours, theirs = value_and_gradient_of_ours(formula), value_and_gradient_of_torch(formula)
    for part in ("value", "gradient"):
        assert_near(ours[part], theirs[part])


@pytest.mark.parametrize("name", formulas(7, 5, 6, 3))
def test_value_and_gradient_equal_torch(name: str) -> None:
    assert_equals_torch(formulas(7, 5, 6, 3)[name])


def test_gram_of_a_batch_equals_gram_of_each_image() -> None:
    features = jnp.asarray(normal(3, 8, 9, 5))
    for index in range(3):
        single = gram(features[index : index + 1])
        np.testing.assert_allclose(gram(features)[index], single[0], rtol=0, atol=1e-6)


def test_gram_of_bfloat16_features_accumulates_in_float32() -> None:
    features = jnp.asarray(normal(2, 64, 64, 16))

    def loss(features: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(gram(features)))

    bfloat16 = features.astype(jnp.bfloat16)
    ours, exact = gram(bfloat16), gram(features)
    assert ours.dtype == jnp.float32
    # Accumulated in bfloat16, 4,096 products would be wrong by several percent.
    assert float(jnp.abs(ours - exact).max()) <= 2e-3 * float(jnp.abs(exact).max())
    gradient, expected = jax.grad(loss)(bfloat16), jax.grad(loss)(features)
    assert gradient.dtype == jnp.bfloat16
    assert float(jnp.linalg.norm(gradient - expected)) <= 0.01 * float(jnp.linalg.norm(expected))


@pytest.mark.parametrize(("images", "styles"), [(1, 1), (2, 2), (3, 2)])
def test_style_distances_compare_every_image_with_every_style(images: int, styles: int) -> None:
    assert_equals_torch(style_distances(normal(images, 4, 4), normal(styles, 4, 4, seed=1)))


def test_losses_of_single_rows_of_distances_sum_to_the_loss() -> None:
    distances = jnp.asarray(uniform(3, 3))
    for loss in (style_loss, blend_loss):
        rows = [float(loss(distances[k : k + 1], k)) for k in range(3)]
        assert sum(rows) == pytest.approx(float(loss(distances)), rel=1e-6)
    assert float(style_loss(distances[1:2], 1)) == float(distances[1, 1])


def test_blend_loss_of_one_region_is_zero() -> None:
    assert float(blend_loss(jnp.array([[7.0]]))) == 0


def test_content_loss_of_bfloat16_features_is_float32() -> None:
    features = jnp.full((1, 64, 64, 8), 1.0078125, jnp.bfloat16)  # the next number after 1
    loss = content_loss(features, jnp.ones_like(features))
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(0.0078125**2)


def test_total_variation_of_a_flat_image_has_zero_gradient() -> None:
    """torch's subgradient of |x| at 0; JAX's is 1, and every flat sky starts there."""
    flat = jnp.full((5, 6, 3), 0.25)
    assert float(total_variation(flat)) == 0
    assert not np.any(jax.grad(total_variation)(flat))


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (gram, [(1, 8192, 8192, 64)]),
        (guided_gram, [(8192, 8192, 64), (8192, 8192, 2)]),
        (content_loss, [(1, 8192, 8192, 64)] * 2),
        (total_variation, [(65536, 65536, 3)]),
        (lambda tv: LossWeights(1.0, 1.0, 1.0, tv).with_tv_per_pixel(65536, 65536).tv, [()]),
    ],
    ids=["gram", "guided_gram", "content_loss", "total_variation", "with_tv_per_pixel"],
)
def test_pictures_of_more_values_than_an_int32_counts_have_losses(
    loss: Callable[..., jax.Array], shapes: list[tuple[int, ...]]
) -> None:
    assert jax.eval_shape(loss, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).dtype == jnp.float32
