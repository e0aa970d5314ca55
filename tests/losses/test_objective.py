"""Each loss and its gradient equals the formula in PyTorch with its autograd; the weighted sum equals the twin's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.losses.functional import blend_loss, content_loss, gram, style_loss, total_variation
from msst_jax.losses.objective import (
    TERMS,
    LossWeights,
    Targets,
    content_targets,
    style_targets,
    stylization_loss,
    weighted_sum,
)
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, normalize
from reference import original
from reference.loss_cases import (
    FACTORS,
    GRADIENT_TOLERANCE,
    LAYERS,
    VALUE_TOLERANCE,
    case,
    evaluate,
    gradient_error,
    load_network,
    reference_of,
)
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


# --- the formulas
@pytest.mark.parametrize("name", formulas(7, 5, 6, 3))
def test_value_and_gradient_equal_torch(name: str) -> None:
    assert_equals_torch(formulas(7, 5, 6, 3)[name])


def test_gram_of_a_batch_is_that_of_each_image() -> None:
    features = jnp.asarray(normal(3, 8, 9, 5))
    for index in range(3):
        single = gram(features[index : index + 1])
        np.testing.assert_allclose(gram(features)[index], single[0], rtol=0, atol=1e-6)


def test_gram_of_bfloat16_features_is_float32_and_near() -> None:
    features = jnp.asarray(normal(2, 64, 64, 16))

    def loss(features: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(gram(features)))

    rough = features.astype(jnp.bfloat16)
    ours, exact = gram(rough), gram(features)
    assert ours.dtype == jnp.float32
    # Summed in bfloat16, 4,096 products would be wrong by several percent.
    assert float(jnp.abs(ours - exact).max()) <= 2e-3 * float(jnp.abs(exact).max())
    gradient, expected = jax.grad(loss)(rough), jax.grad(loss)(features)
    assert gradient.dtype == jnp.bfloat16
    assert float(jnp.linalg.norm(gradient - expected)) <= 0.01 * float(jnp.linalg.norm(expected))


@pytest.mark.parametrize(("images", "styles"), [(1, 1), (2, 2), (3, 2)])
def test_style_distances_compare_every_image_with_every_style(images: int, styles: int) -> None:
    assert_equals_torch(style_distances(normal(images, 4, 4), normal(styles, 4, 4, seed=1)))


def test_a_row_of_distances_gives_the_share_of_its_image() -> None:
    distances = jnp.asarray(uniform(3, 3))
    for loss in (style_loss, blend_loss):
        rows = [float(loss(distances[k : k + 1], k)) for k in range(3)]
        assert sum(rows) == pytest.approx(float(loss(distances)), rel=1e-6)
    assert float(style_loss(distances[1:2], 1)) == float(distances[1, 1])


def test_one_region_has_no_blend_loss() -> None:
    assert float(blend_loss(jnp.array([[7.0]]))) == 0


def test_content_loss_of_bfloat16_features_is_float32() -> None:
    features = jnp.full((1, 64, 64, 8), 1.0078125, jnp.bfloat16)  # the next number after 1
    loss = content_loss(features, jnp.ones_like(features))
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(0.0078125**2)


def test_total_variation_of_a_flat_image_has_no_gradient() -> None:
    """torch's rule for |0|, where JAX's own is 1; every flat sky starts there."""
    flat = jnp.full((5, 6, 3), 0.25)
    assert float(total_variation(flat)) == 0
    assert not np.any(jax.grad(total_variation)(flat))


def test_composite_of_hard_masks_takes_each_pixel_from_its_region() -> None:
    images = uniform(2, 4, 6, 3)
    mask = (uniform(4, 6) > 0.5).astype(np.float32)
    result = composite(jnp.asarray(images), jnp.asarray(np.stack([mask, 1 - mask], -1)))
    np.testing.assert_array_equal(result, np.where(mask[..., None] == 1, images[0], images[1]))


def test_weighted_sum_pairs_layers_with_factors() -> None:
    values = {"b": jnp.float32(3.0), "a": jnp.float32(5.0)}
    assert float(weighted_sum(values, (2.0, 10.0))) == 56
    with pytest.raises(ValueError, match="shorter"):
        weighted_sum(values, (1.0,))


# --- the weighted sum against tests/torch_reference.py
@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_network()


@pytest.mark.parametrize("regions", [2, 3])
def test_whole_loss_and_gradient_equal_torch(vgg: VGG, regions: int) -> None:
    pictures = case(regions)
    reference = reference_of(pictures)
    expected, expected_gradient, terms = reference.value_and_gradient(pictures.pixels)
    (value, ours), gradient = evaluate(vgg, *pictures, FACTORS)
    assert value == pytest.approx(expected, rel=VALUE_TOLERANCE)
    assert sum(ours.values()) == pytest.approx(float(value), rel=1e-6)
    assert set(ours) == set(TERMS)
    smooth = float(FACTORS.content) * float(FACTORS.tv) * terms.variation.item()
    assert ours["smooth"] == pytest.approx(smooth, rel=VALUE_TOLERANCE)
    own = sum(f * terms.distances[x].trace().item() for x, f in zip(LAYERS.style, LAYERS.style_factors, strict=True))
    assert ours["style"] == pytest.approx(float(FACTORS.style) * own, rel=VALUE_TOLERANCE)
    error = gradient_error(np.asarray(gradient), expected_gradient)
    print(f"K={regions}: loss {abs(float(value) / expected - 1):.1e}, gradient {error:.1e}")
    assert error <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("regions", [1, 2, 3])
@pytest.mark.parametrize("kind", ["conv", "relu"])
def test_one_image_after_the_other_gives_the_same_loss_terms_and_gradient(vgg: VGG, kind: str, regions: int) -> None:
    layers = LAYERS._replace(
        style=tuple(tap.replace("conv", kind) for tap in LAYERS.style),
        content=tuple(tap.replace("conv", kind) for tap in ("conv1_2", "conv2_1")),
    )
    grams = [style_targets(vgg, uniform(40, 36, 3, seed=k), layers.style) for k in range(regions)]
    targets = Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        content_targets(vgg, uniform(64, 64, 3, seed=20), layers.content),
    )
    masks = np.random.default_rng(1).dirichlet([1] * regions, (64, 64)).astype(np.float32)

    def both(pixels: jax.Array, remat: bool) -> Any:
        def loss(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            return stylization_loss(vgg, targets, jnp.asarray(masks), layers, pixels, FACTORS, remat=remat)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(pixels)

    pixels = jnp.asarray(uniform(regions, 64, 64, 3, seed=21))
    (value, terms), gradient = both(pixels, True)
    (expected, expected_terms), expected_gradient = both(pixels, False)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert set(terms) == set(TERMS)
    for name in TERMS:
        assert float(terms[name]) == pytest.approx(float(expected_terms[name]), rel=1e-6), name
    error = jnp.linalg.norm(gradient - expected_gradient) / jnp.linalg.norm(expected_gradient)
    print(f"K={regions}, {kind}: gradient {float(error):.1e}")
    assert float(error) <= 1e-6


@pytest.mark.parametrize("name", LossWeights._fields)
def test_each_factor_scales_its_own_term(vgg: VGG, name: str) -> None:
    pictures = case(2)
    (_, before), _ = evaluate(vgg, *pictures, FACTORS)
    (_, after), _ = evaluate(vgg, *pictures, FACTORS._replace(**{name: 3 * getattr(FACTORS, name)}))
    scaled = {"tv": ("smooth",), "content": ("content", "smooth")}.get(name, (name,))
    for term in TERMS:
        factor = 3 if term in scaled else 1
        assert float(after[term]) == pytest.approx(factor * float(before[term]), rel=1e-6), term


def test_loss_of_one_region_has_no_blend_term(vgg: VGG) -> None:
    (value, terms), gradient = evaluate(vgg, *case(1), FACTORS)
    assert float(terms["blend"]) == 0
    assert float(value) > 0
    assert np.all(np.isfinite(gradient))


def test_start_from_the_photo_has_no_content_loss(vgg: VGG) -> None:
    pictures = case(2)
    (_, terms), _ = evaluate(vgg, *pictures._replace(pixels=np.stack([pictures.content] * 2)), FACTORS)
    # The masks add up to 1 only up to rounding.
    assert float(terms["content"]) <= 1e-8 * float(FACTORS.content)


def test_total_variation_is_taken_on_the_normalised_result(vgg: VGG) -> None:
    pictures = case(2)
    (_, terms), _ = evaluate(vgg, *pictures, FACTORS)
    result = original.to_tensor(np.asarray(composite(*map(jnp.asarray, (pictures.pixels, pictures.masks)))))
    expected = original.variation(original.normalize(result)).item()
    assert float(terms["smooth"]) == pytest.approx(float(FACTORS.content) * float(FACTORS.tv) * expected, rel=1e-5)


def test_normalisation_is_torchvisions() -> None:
    image = uniform(2, 5, 6, 3)
    theirs = original.normalize(original.to_tensor(image))
    np.testing.assert_allclose(normalize(jnp.asarray(image)), original.to_array(theirs), rtol=0, atol=1e-6)
