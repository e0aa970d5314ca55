"""The weighted objective and its gradient equal the PyTorch reference; each weight scales its own term."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from msst_jax.ops.image import composite
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
from reference.loss_formulas import uniform


def test_weighted_sum_pairs_layers_with_factors() -> None:
    values = {"b": jnp.float32(3.0), "a": jnp.float32(5.0)}
    assert float(weighted_sum(values, (2.0, 10.0))) == 56
    with pytest.raises(ValueError, match="shorter"):
        weighted_sum(values, (1.0,))


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_network()


@pytest.mark.parametrize("regions", [2, 3])
def test_total_loss_and_gradient_equal_torch(vgg: VGG, regions: int) -> None:
    inputs = case(regions)
    reference = reference_of(inputs)
    expected, expected_gradient, terms = reference.value_and_gradient(inputs.pixels)
    (value, ours), gradient = evaluate(vgg, *inputs, FACTORS)
    assert value == pytest.approx(expected, rel=VALUE_TOLERANCE)
    assert sum(ours.values()) == pytest.approx(float(value), rel=1e-6)
    assert set(ours) == set(TERMS)
    expected_smooth = float(FACTORS.content) * float(FACTORS.tv) * terms.variation.item()
    assert ours["smooth"] == pytest.approx(expected_smooth, rel=VALUE_TOLERANCE)
    style = sum(f * terms.distances[x].trace().item() for x, f in zip(LAYERS.style, LAYERS.style_factors, strict=True))
    assert ours["style"] == pytest.approx(float(FACTORS.style) * style, rel=VALUE_TOLERANCE)
    error = gradient_error(np.asarray(gradient), expected_gradient)
    print(f"K={regions}: loss {abs(float(value) / expected - 1):.1e}, gradient {error:.1e}")
    assert error <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("regions", [1, 2, 3])
@pytest.mark.parametrize("kind", ["conv", "relu"])
def test_remat_per_image_keeps_loss_terms_and_gradient(vgg: VGG, kind: str, regions: int) -> None:
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

    def value_and_gradient(pixels: jax.Array, remat: bool) -> Any:
        def loss(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            return stylization_loss(vgg, targets, jnp.asarray(masks), layers, pixels, FACTORS, remat=remat)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(pixels)

    pixels = jnp.asarray(uniform(regions, 64, 64, 3, seed=21))
    (value, terms), gradient = value_and_gradient(pixels, True)
    (expected, expected_terms), expected_gradient = value_and_gradient(pixels, False)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert set(terms) == set(TERMS)
    for name in TERMS:
        assert float(terms[name]) == pytest.approx(float(expected_terms[name]), rel=1e-6), name
    error = jnp.linalg.norm(gradient - expected_gradient) / jnp.linalg.norm(expected_gradient)
    print(f"K={regions}, {kind}: gradient {float(error):.1e}")
    assert float(error) <= 1e-6


@pytest.mark.parametrize("name", LossWeights._fields)
def test_each_weight_scales_its_own_term(vgg: VGG, name: str) -> None:
    inputs = case(2)
    (_, before), _ = evaluate(vgg, *inputs, FACTORS)
    (_, after), _ = evaluate(vgg, *inputs, FACTORS._replace(**{name: 3 * getattr(FACTORS, name)}))
    scaled = {"tv": ("smooth",), "content": ("content", "smooth")}.get(name, (name,))
    for term in TERMS:
        factor = 3 if term in scaled else 1
        assert float(after[term]) == pytest.approx(factor * float(before[term]), rel=1e-6), term


def test_loss_of_one_region_has_zero_blend_term(vgg: VGG) -> None:
    (value, terms), gradient = evaluate(vgg, *case(1), FACTORS)
    assert float(terms["blend"]) == 0
    assert float(value) > 0
    assert np.all(np.isfinite(gradient))


def test_initialization_with_the_photo_has_zero_content_loss(vgg: VGG) -> None:
    inputs = case(2)
    (_, terms), _ = evaluate(vgg, *inputs._replace(pixels=np.stack([inputs.content] * 2)), FACTORS)
    # The masks sum to 1 only up to rounding.
    assert float(terms["content"]) <= 1e-8 * float(FACTORS.content)


def test_total_variation_is_computed_on_the_normalized_result(vgg: VGG) -> None:
    inputs = case(2)
    (_, terms), _ = evaluate(vgg, *inputs, FACTORS)
    result = original.to_tensor(np.asarray(composite(*map(jnp.asarray, (inputs.pixels, inputs.masks)))))
    expected = original.variation(original.normalize(result)).item()
    assert float(terms["smooth"]) == pytest.approx(float(FACTORS.content) * float(FACTORS.tv) * expected, rel=1e-5)
