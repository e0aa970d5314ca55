"""The guided objective, its Gram matrices and their gradients equal the PyTorch twin; regions act where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.losses.functional import gram, guided_gram, relative_style_distances
from msst_jax.losses.guidance import LayerGrid, guide_masks, region_weights
from msst_jax.losses.guided_batch import guided_batch_loss
from msst_jax.losses.guided_objective import guidance_of_masks, guided_stylization_loss
from msst_jax.losses.objective import TERMS, Targets, Terms, content_targets, style_targets
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.models.vgg import VGG
from reference import guided, original
from reference.loss_cases import (
    FACTORS,
    GRADIENT_TOLERANCE,
    LAYERS,
    VALUE_TOLERANCE,
    Case,
    case,
    gradient_error,
    load_network,
    settings,
)
from reference.loss_formulas import FORMULA_TOLERANCE, normal, uniform

WEIGHTS = FACTORS._replace(style=200.0, blend=60.0)  # distances are relative: no term is lost beside another


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_network()


@jax.jit
def evaluate(vgg: VGG, inputs: Case) -> tuple[tuple[jax.Array, Terms], jax.Array]:
    grams = [style_targets(vgg, style, LAYERS.style) for style in inputs.styles]
    targets = Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        content_targets(vgg, inputs.content, LAYERS.content),
    )
    guidance = guidance_of_masks(vgg, inputs.masks, LAYERS.style)
    return jax.value_and_grad(
        lambda image: guided_stylization_loss(vgg, targets, guidance, LAYERS, image, WEIGHTS), has_aux=True
    )(inputs.pixels[0])


@pytest.mark.parametrize("size", [(32, 44), (35, 41)], ids=["even", "odd"])
@pytest.mark.parametrize("regions", [2, 3])
def test_total_loss_and_gradient_equal_torch(vgg: VGG, regions: int, size: tuple[int, int]) -> None:
    inputs = case(regions, *size)
    theirs = guided.GuidedReference(
        original.network(EMBEDDED_VGG16), inputs.content, inputs.styles, inputs.masks, settings(WEIGHTS)
    )
    expected, expected_gradient = theirs.value_and_gradient(inputs.pixels[0])
    (value, terms), gradient = evaluate(vgg, inputs)
    assert value == pytest.approx(expected, rel=VALUE_TOLERANCE)
    assert set(terms) == set(TERMS)
    assert sum(terms.values()) == pytest.approx(float(value), rel=1e-6)
    assert gradient_error(np.asarray(gradient), expected_gradient) <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("regions", [1, 2, 3])
def test_gram_of_regions_and_both_gradients_equal_torch(regions: int) -> None:
    features, guides, factor = normal(9, 7, 6), uniform(9, 7, regions, seed=1), normal(regions, 6, 6, seed=2)
    x, g = (torch.tensor(np.moveaxis(each, -1, 0).copy(), requires_grad=True) for each in (features, guides))
    expected = guided.guided_grams(x, g)
    (expected * torch.from_numpy(factor)).sum().backward()
    ours, pull = jax.vjp(guided_gram, features, guides)
    assert x.grad is not None
    assert g.grad is not None
    by_torch = [expected.detach().numpy(), *(np.moveaxis(each.grad.numpy(), 0, -1) for each in (x, g))]
    for mine, theirs in zip((ours, *pull(factor)), by_torch, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=FORMULA_TOLERANCE * np.abs(theirs).max())


def test_gram_over_a_mask_of_ones_is_the_gram_of_the_image() -> None:
    features = normal(1, 9, 7, 6)
    everywhere = guided_gram(features[0], np.ones((9, 7, 2), np.float32))
    np.testing.assert_allclose(everywhere, np.repeat(gram(features), 2, 0), rtol=0, atol=1e-6)


def test_gram_of_a_region_ignores_what_lies_outside() -> None:
    features, guide = normal(6, 8, 5), np.zeros((6, 8, 1), np.float32)
    guide[:, :4] = 1
    changed = features.copy()
    changed[:, 4:] += 100
    np.testing.assert_array_equal(guided_gram(features, guide), guided_gram(changed, guide))


def test_gram_of_bfloat16_features_accumulates_in_float32() -> None:
    features, guide = normal(64, 64, 16), np.ones((64, 64, 1), np.float32)
    ours, exact = guided_gram(jnp.asarray(features, jnp.bfloat16), guide), guided_gram(features, guide)
    assert ours.dtype == jnp.float32
    assert float(jnp.abs(ours - exact).max()) <= 2e-3 * float(jnp.abs(exact).max())


def test_an_empty_region_has_no_weight_and_no_gradient_that_is_not_finite() -> None:
    guides = np.zeros((8, 8, 2), np.float32)
    guides[..., 0] = 1
    assert region_weights(jnp.asarray(guides), jnp.asarray(guides))[1] == 0

    def total(features: jax.Array) -> jax.Array:
        return jnp.sum(guided_gram(features, guides) ** 2)

    assert np.isfinite(jax.grad(total)(normal(8, 8, 4))).all()


def test_weights_are_roots_of_shares_and_a_region_of_a_few_pixels_counts_less() -> None:
    masks = np.zeros((20, 20, 2), np.float32)
    masks[:5, :, 0], masks[5:, :, 1] = 1, 1
    few = masks.copy()
    few[1:, :, 0], few[0, 8:, 0] = 0, 0
    np.testing.assert_allclose(region_weights(jnp.asarray(masks), jnp.asarray(masks)), np.sqrt([0.5, 1.5]), rtol=1e-6)
    np.testing.assert_allclose(region_weights(jnp.asarray(masks), jnp.asarray(few))[0], 0.5**1.5, rtol=1e-6)


def test_features_that_see_across_an_edge_count_for_neither_region_but_those_at_the_border_of_the_photo_do() -> None:
    masks = np.zeros((32, 48, 2), np.float32)
    masks[:, :22, 0], masks[:, 22:, 1] = 1, 1
    guides = np.asarray(guide_masks(jnp.asarray(masks), LayerGrid(8, 12, 24)))
    np.testing.assert_allclose(guides[:, :3], np.broadcast_to([1, 0], (8, 3, 2)), atol=1e-6)
    np.testing.assert_allclose(guides[:, 8:], np.broadcast_to([0, 1], (8, 4, 2)), atol=1e-6)
    assert (guides[:, 5].sum(-1) < 0.4).all()


def test_a_region_thinner_than_half_a_receptive_field_has_no_statistics_there() -> None:
    masks = np.zeros((64, 64, 2), np.float32)
    masks[:, 30:34, 0] = 1
    masks[..., 1] = 1 - masks[..., 0]
    thin = {field: guide_masks(jnp.asarray(masks), LayerGrid(64, 64, field))[..., 0].max() for field in (3, 60)}
    assert thin == {3: 1, 60: 0}


def test_relative_distances_do_not_depend_on_the_contrast_of_a_style_and_black_ones_are_finite() -> None:
    grams, targets = normal(2, 6, 6), normal(3, 6, 6, seed=1)
    once, tenfold = (relative_style_distances(factor * grams, factor * targets) for factor in (1, 10))
    np.testing.assert_allclose(once, tenfold, rtol=1e-5)
    gray = relative_style_distances(0 * grams, targets)
    np.testing.assert_allclose(gray, np.ones((2, 3)), rtol=1e-6)
    assert np.isfinite(relative_style_distances(grams, 0 * targets)).all()


def test_factors_of_the_regions_weigh_each_its_own_share_of_the_style(vgg: VGG) -> None:
    inputs = case(2, 32, 44)
    grams = [style_targets(vgg, style, LAYERS.style) for style in inputs.styles]
    targets = jax.tree.map(lambda *values: jnp.concatenate(values)[None], *grams)

    @jax.jit
    def style(factors: jax.Array | None) -> jax.Array:
        each = (inputs.pixels[:1], inputs.content[None], inputs.masks[None])
        _, terms = guided_batch_loss(vgg, targets, LAYERS, WEIGHTS, *each, factors)
        return terms["style"]

    whole, person, background = (style(each) for each in (None, jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])))
    assert 0 < person < whole
    assert person + background == pytest.approx(float(whole), rel=1e-5)
    assert style(jnp.array([1.0, 2.5])) == pytest.approx(float(person + 2.5 * background), rel=1e-5)
