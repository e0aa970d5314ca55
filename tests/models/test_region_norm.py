"""Normalization by region: what a mask of ones, an empty region and one of a few pixels do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.models import region_norm as module
from msst_jax.models.region_norm import instance_norm, region_norm
from reference.loss_formulas import normal, uniform

CHANNELS, SIZE = 5, (9, 8)
normalized = jax.jit(region_norm)  # twice as fast as operation by operation


def random_style(regions: int) -> np.ndarray:
    return normal(2, regions, 2 * CHANNELS, seed=3)


def halves() -> np.ndarray:
    """Hard masks (2, H, W, 2)."""
    masks = np.zeros((2, *SIZE, 2), np.float32)
    masks[:, :, :3, 0], masks[:, :, 3:, 1] = 1, 1
    return masks


@pytest.mark.parametrize("mean", [0, 1e3])
def test_a_mask_of_ones_is_conditional_instance_normalization(mean: float) -> None:
    """E[x^2] - E[x]^2 would cancel catastrophically at a large mean."""
    x, style = mean + uniform(2, *SIZE, CHANNELS), uniform(2, 1, 2 * CHANNELS, seed=3)
    style[..., :CHANNELS] -= 1
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((1, 2), keepdims=True)) / np.sqrt(exact.var((1, 2), keepdims=True) + 1e-5)
    scale, shift = np.split(style[:, :, None], 2, axis=-1)
    expected = exact * (1 + scale) + shift
    ours = normalized(x, np.ones((2, *SIZE, 1), np.float32), style)
    tolerance = 1e-3 if mean else 1e-5
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance)
    plain = jax.jit(instance_norm)(x, 1 + style[0, 0, :CHANNELS], style[0, 0, CHANNELS:])
    np.testing.assert_allclose(plain[0], expected[0], rtol=0, atol=tolerance)


def test_the_statistics_of_a_region_become_those_of_its_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRIOR", 0.0)
    x, style = 3 + normal(2, *SIZE, CHANNELS), random_style(2)

    @jax.jit
    def without_prior(x: jax.Array, masks: jax.Array, style: jax.Array) -> jax.Array:  # traced with the PRIOR of 0
        return region_norm(x, masks, style)

    ours = np.asarray(without_prior(x, halves(), style))
    for region, columns in enumerate((slice(0, 3), slice(3, 8))):
        inside = ours[:, :, columns]
        np.testing.assert_allclose(inside.mean((1, 2)), style[:, region, CHANNELS:], rtol=0, atol=1e-4)
        np.testing.assert_allclose(inside.std((1, 2)), np.abs(1 + style[:, region, :CHANNELS]), rtol=1e-3, atol=1e-4)


def test_the_style_of_a_region_does_not_act_beyond_its_mask() -> None:
    x, style = normal(2, *SIZE, CHANNELS), random_style(2)
    other = style.copy()
    other[:, 1] += 1
    before, after = (np.asarray(normalized(x, halves(), each)) for each in (style, other))
    np.testing.assert_array_equal(before[:, :, :3], after[:, :, :3])
    assert np.abs(before - after)[:, :, 3:].mean() > 0.5


@pytest.mark.parametrize("pixels", [0, 1])
def test_an_empty_region_and_one_of_a_pixel_are_finite_and_so_are_their_gradients(pixels: int) -> None:
    """A single pixel has no variance of its own: without the prior it would be divided by nearly zero."""
    masks = np.zeros((2, *SIZE, 2), np.float32)
    masks[..., 1] = 1
    masks[:, 4, :pixels] = (1, 0)
    x, style = normal(2, *SIZE, CHANNELS), random_style(2)

    @jax.jit
    def gradients_of(x: jax.Array, masks: jax.Array, style: jax.Array) -> tuple[jax.Array, ...]:
        return jax.grad(lambda *arguments: jnp.sum(region_norm(*arguments) ** 2), (0, 1, 2))(x, masks, style)

    ours, gradients = normalized(x, masks, style), gradients_of(x, masks, style)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    assert float(jnp.abs(ours).max()) < 30
    if not pixels:
        np.testing.assert_allclose(ours, normalized(x, masks[..., 1:], style[:, 1:]), atol=1e-5)
        np.testing.assert_array_equal(gradients[2][:, 0], 0)


def test_the_order_of_the_regions_changes_nothing() -> None:
    masks = np.random.default_rng(0).dirichlet([1, 1, 1], (2, *SIZE)).astype(np.float32)
    x, style = normal(2, *SIZE, CHANNELS), random_style(3)
    one, other = (normalized(x, masks[..., order], style[:, order]) for order in ([0, 1, 2], [2, 0, 1]))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_bfloat16_features_are_normalized_in_float32() -> None:
    narrow = jnp.asarray(100 + normal(2, *SIZE, CHANNELS), jnp.bfloat16)
    ours, exact = (normalized(x, halves(), random_style(2)) for x in (narrow, narrow.astype(jnp.float32)))
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype(jnp.float32), exact, rtol=0.01, atol=0.01)
