"""The guided filter equals the paper's formulas and aligns region edges with those of the photo."""

import jax
import numpy as np
import pytest

from msst_jax.ops.guided_filter import EPS, build_guide, guided_filter, refine_edges
from tests.helpers.pictures import noise
from tests.helpers.segmenters import CAT, DOG, PERSON, label_probabilities

SIZES = [(23, 31), (5, 40), (3, 4), (1, 9)]
GUIDE = jax.jit(build_guide, static_argnums=1)
FILTER = jax.jit(guided_filter, static_argnums=2)


def windows_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean of values (H, W, ...) over the window of every pixel, one by one."""
    means = np.empty_like(values)
    for y, x in np.ndindex(*values.shape[:2]):
        window = values[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        means[y, x] = window.mean((0, 1))
    return means


def paper_formula(photo: np.ndarray, image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Equations 19 to 21 in float64, with explicit matrix inverses as in the paper."""
    photo, image = photo.astype(float), image.astype(float)
    color, mean = windows_mean(photo, radius), windows_mean(image, radius)
    products = windows_mean(photo[..., :, None] * photo[..., None, :], radius)
    sigma = products - color[..., :, None] * color[..., None, :]
    covariance = windows_mean(photo * image[..., None], radius) - color * mean[..., None]
    slopes = (np.linalg.inv(sigma + eps * np.eye(3)) @ covariance[..., None])[..., 0]
    offset = mean - (slopes * color).sum(-1)
    return (windows_mean(slopes, radius) * photo).sum(-1) + windows_mean(offset, radius)


def filtered(photo: np.ndarray, image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    return np.asarray(FILTER(GUIDE(photo, radius, eps), image, radius))


def noise_photo(height: int, width: int) -> np.ndarray:
    return noise(height, width).astype(np.float32) / 255


@pytest.mark.parametrize("radius", [1, 3, 50])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_filter_equals_the_formulas_of_the_paper_for_any_size_and_radius(height: int, width: int, radius: int):
    image = np.random.default_rng(1).random((height, width)).astype(np.float32)
    expected = paper_formula(noise_photo(height, width), image, radius, 1e-3)
    np.testing.assert_allclose(filtered(noise_photo(height, width), image, radius, 1e-3), expected, atol=1e-5)


@pytest.mark.parametrize("contrast", [1.0, 0.01, 0.0])
def test_a_gray_photo_with_nearly_singular_covariance_loses_no_precision(contrast: float):
    gray = 0.5 + contrast * (noise_photo(20, 30).mean(-1, keepdims=True).repeat(3, -1) - 0.5)
    image = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    expected = paper_formula(gray, image, 3, EPS)
    np.testing.assert_allclose(filtered(gray, image, 3, EPS), expected, atol=1e-5)


def test_the_filter_is_linear_and_keeps_constants():
    rng = np.random.default_rng(2)
    photo = noise_photo(21, 33)
    one, other = (rng.random((21, 33)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(filtered(photo, np.full((21, 33), 0.3, np.float32), 4, 1e-4), 0.3, atol=1e-5)
    separate = 2 * filtered(photo, one, 4, 1e-4) - filtered(photo, other, 4, 1e-4)
    np.testing.assert_allclose(filtered(photo, 2 * one - other, 4, 1e-4), separate, atol=1e-5)


def disc(height: int, width: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - row, x - column) < radius


def two_classes(person: np.ndarray) -> np.ndarray:
    probabilities = np.zeros((*person.shape, 21), np.float32)
    probabilities[..., PERSON], probabilities[..., 0] = person, 1 - person
    return probabilities


def test_a_misaligned_mask_edge_moves_onto_the_color_edge():
    """A disc, detected 2 pixels too far to the right and down, and too soft."""
    height, width = 240, 401
    rng = np.random.default_rng(3)
    truth = disc(height, width, 120, 200, 70)
    photo = np.where(truth[..., None], (0.7, 0.5, 0.4), (0.4, 0.5, 0.6)) + 0.02 * rng.normal(size=(height, width, 3))
    y, x = np.mgrid[:height, :width]
    detected = 1 / (1 + np.exp((np.hypot(y - 122, x - 202) - 70) / 1.5))
    refined = refine_edges(two_classes(detected.astype(np.float32)), photo.astype(np.float32))[..., PERSON]
    error_before, error_after = (((mask > 0.5) != truth).mean() for mask in (detected, refined))
    assert error_before > 0.008
    assert error_after < 0.1 * error_before
    far = np.abs(np.hypot(y - 120, x - 200) - 70) > 18
    np.testing.assert_allclose(refined[far], truth[far], atol=0.02)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_refined_probabilities_lie_in_0_to_1_and_sum_to_1(height: int, width: int):
    rng = np.random.default_rng(4)
    probabilities = label_probabilities(rng.choice((0, PERSON, CAT, DOG), (height, width)), 0.97)
    refined = refine_edges(probabilities, noise_photo(height, width))
    assert refined.dtype == np.float32
    assert refined.min() >= 0
    assert refined.max() <= 1
    np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-6)
    assert np.abs(refined - probabilities).max() > 0.01


def test_every_class_equals_the_filter_applied_to_it_alone():
    """Including the one computed as the remainder of the others; classes that hardly occur are not filtered."""
    photo = noise_photo(30, 44)
    labels = np.select([disc(30, 44, 10, 10, 8), disc(30, 44, 20, 30, 8)], [PERSON, CAT])
    probabilities = label_probabilities(labels, 0.99)
    refined = refine_edges(probabilities, photo)
    expected = np.stack([filtered(photo, probabilities[..., c], 1, EPS) for c in range(21)], -1).clip(0, 1)
    np.testing.assert_allclose(refined, expected / expected.sum(-1, keepdims=True), atol=2e-3)
    rare = [c for c in range(21) if c not in (0, PERSON, CAT)]
    np.testing.assert_allclose(refined[..., rare], probabilities[..., rare], rtol=0.2)


def test_probabilities_of_a_single_class_are_unchanged():
    probabilities = two_classes(np.zeros((20, 30), np.float32))
    assert refine_edges(probabilities, noise_photo(20, 30)) is probabilities
