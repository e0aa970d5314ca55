"""The measures of benchmarks.quality on pictures whose distances are known."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.harness.averages import mean_known, mean_of_known
from benchmarks.quality.metrics import edges, network, palette
from benchmarks.quality.metrics.network import LAYERS, Statistics
from msst_jax.models.vgg import VGG
from tests.helpers.pictures import noise, stripe

HEIGHT, WIDTH = 98, 131  # odd, and not square
LEFT = stripe(HEIGHT, WIDTH, 0, 0.5) / np.float32(255)
MASKS = np.stack([LEFT, 1 - LEFT], -1)
LABELS = MASKS.argmax(-1)


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return network.load_network()


def fine() -> np.ndarray:
    """A painting of red lines."""
    rows = np.arange(HEIGHT)[:, None, None] % 4 < 2
    return np.where(rows, (1.0, 0.1, 0.1), (0.9, 0.9, 0.8)).astype(np.float32).repeat(WIDTH, 1)


def coarse() -> np.ndarray:
    """A painting of blue columns."""
    columns = np.arange(WIDTH)[None, :, None] % 9 < 4
    return np.where(columns, (0.0, 0.2, 0.8), (0.6, 0.9, 0.9)).astype(np.float32).repeat(HEIGHT, 0)


def halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A picture that shows one image on the left and another on the right."""
    return left * MASKS[..., :1] + right * MASKS[..., 1:]


def gram_matrix_of(vgg: VGG, picture: np.ndarray, masks: np.ndarray = MASKS) -> np.ndarray:
    paintings = [network.image_statistics(vgg, painting) for painting in (fine(), coarse())]
    return network.gram_matrix(network.image_statistics(vgg, picture, masks), paintings)


def test_gram_distance_of_a_painting_to_itself_is_zero(vgg: VGG) -> None:
    statistics = network.image_statistics(vgg, fine())
    assert network.gram_matrix(statistics, [statistics]).tolist() == [[0.0]]


def test_gram_distance_is_the_squared_relative_one_averaged_over_the_layers() -> None:
    target = {layer: jnp.full((1, 2, 2), index + 1.0) for index, layer in enumerate(LAYERS)}
    factors = dict(zip(LAYERS, (1.0, 1.5, 2.0, 3.0), strict=True))  # off by 0, 0.5, 1 and 2 times the target
    grams = {layer: factors[layer] * value for layer, value in target.items()}
    matrix = network.gram_matrix(Statistics({}, grams), [Statistics({}, target)])
    assert matrix == pytest.approx(np.array([[(0 + 0.25 + 1 + 4) / 4]]))


def test_regions_painted_with_their_styles_give_a_diagonal_gram_matrix_and_swapped_ones_do_not(vgg: VGG) -> None:
    right, swapped = (gram_matrix_of(vgg, picture) for picture in (halves(fine(), coarse()), halves(coarse(), fine())))
    assert right.argmin(1).tolist() == [0, 1]
    assert swapped.argmin(1).tolist() == [1, 0]
    assert (right.diagonal() < 0.5).all()  # features at the seam see both halves
    assert (right.diagonal() < swapped.diagonal() / 3).all()


def test_gram_distances_do_not_look_outside_of_their_region(vgg: VGG) -> None:
    left = stripe(HEIGHT, WIDTH, 0, 0.2) / np.float32(255)
    picture, other = fine(), fine()
    other[:, -40:] = 0  # farther away than the deepest layer sees
    masks = np.stack([left, 1 - left], -1)
    one, two = gram_matrix_of(vgg, picture, masks), gram_matrix_of(vgg, other, masks)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-4)
    assert (np.abs(one[1] - two[1]) > 0.01).all()


def test_region_without_pixels_has_no_gram_distance_and_the_others_keep_theirs(vgg: VGG) -> None:
    picture, whole = halves(fine(), coarse()), np.stack([np.zeros_like(LEFT), np.ones_like(LEFT)], -1)
    matrix = gram_matrix_of(vgg, picture, whole)
    assert np.isnan(matrix[0]).all()
    assert np.isfinite(matrix[1]).all()


def test_region_too_small_for_a_layer_is_measured_at_the_others() -> None:
    known = {layer: jnp.ones((1, 2, 2)) for layer in LAYERS}
    partly = {**{layer: 2 * jnp.ones((1, 2, 2)) for layer in LAYERS}, LAYERS[-1]: jnp.full((1, 2, 2), jnp.nan)}
    assert network.gram_matrix(Statistics({}, partly), [Statistics({}, known)]).tolist() == [[1.0]]


def test_content_distance_is_zero_for_the_photo_and_relative_to_its_features(vgg: VGG) -> None:
    photo = network.image_statistics(vgg, coarse())
    assert network.content_distance(photo, photo) == 0
    assert network.content_distance(network.image_statistics(vgg, fine()), photo) > 0.3
    features = {layer: jnp.full((3, 5, 2), 7.0) for layer in LAYERS}
    tripled = Statistics({layer: 3 * value for layer, value in features.items()}, {})
    assert network.content_distance(tripled, Statistics(features, {})) == pytest.approx(4)


def colors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 10, (count, 3)).astype(np.float32)


def test_palettes_of_equal_colors_have_no_distance_in_any_order_and_any_number() -> None:
    some = colors(500)
    assert palette.palette_distance(some, some[::-1]) == 0
    assert palette.palette_distance(some, np.repeat(some, 3, 0)) < 0.1


def test_palette_distance_is_symmetric_and_that_of_a_shift_is_its_length_over_the_root_of_3() -> None:
    some, others = colors(301), colors(200, 1) * 1.5
    assert palette.palette_distance(some, others) == pytest.approx(palette.palette_distance(others, some))
    for shift in np.diag([9.0, 9.0, 9.0]):
        distance = palette.palette_distance(some, some + shift.astype(np.float32))
        assert distance == pytest.approx(9 / math.sqrt(3), rel=0.02)


def test_palettes_with_one_mean_and_different_spread_differ() -> None:
    some = colors(400)
    assert palette.palette_distance(some, some.mean(0) + 2 * (some - some.mean(0))) > 5


@pytest.mark.parametrize("count", [1, 2, 300])
def test_palettes_are_compared_by_their_quantiles_along_each_direction(count: int) -> None:
    some, others, levels = colors(count), colors(200, 1), (np.arange(palette.QUANTILES) + 0.5) / palette.QUANTILES
    quantiles = [np.quantile(each @ palette.directions().T, levels, axis=0) for each in (some, others)]
    expected = math.sqrt(np.mean(np.square(quantiles[0] - quantiles[1])))
    assert palette.palette_distance(some, others) == pytest.approx(expected, rel=1e-5)


def test_palette_without_colors_has_no_distance() -> None:
    assert math.isnan(palette.palette_distance(colors(0), colors(5)))
    assert math.isnan(palette.palette_distance(colors(5), colors(0)))


def test_palettes_are_compared_in_cielab() -> None:
    white, gray = np.ones((1, 1, 3), np.float32), np.full((1, 1, 3), 0.5, np.float32)
    np.testing.assert_allclose(palette.to_lab(white), [[[100, 0, 0]]], atol=0.01)
    np.testing.assert_allclose(palette.to_lab(gray)[..., 0], 53.4, atol=0.1)


def test_regions_with_the_colors_of_their_paintings_give_a_diagonal_palette_matrix_and_swapped_ones_do_not() -> None:
    paintings = [palette.to_lab(painting) for painting in (fine(), coarse())]
    for pair, nearest in (((0, 1), [0, 1]), ((1, 0), [1, 0])):
        picture = halves(*(paintings[index] for index in pair))
        assert palette.palette_matrix(picture, LABELS, paintings).argmin(1).tolist() == nearest


def test_empty_region_has_no_palette_and_the_others_keep_theirs() -> None:
    paintings = [palette.to_lab(painting) for painting in (fine(), coarse())]
    matrix = palette.palette_matrix(paintings[1], np.ones_like(LABELS), paintings)
    assert np.isnan(matrix[0]).all()
    assert matrix[1, 1] == 0


def lightness(seed: int = 0) -> np.ndarray:
    return noise(HEIGHT, WIDTH, seed).mean(-1).astype(np.float32)


BAND = edges.border_band(LABELS)


def test_band_lies_along_the_border_of_the_labels() -> None:
    assert edges.border(LABELS).any(0).nonzero()[0].tolist() == [64, 65]
    assert BAND.all(0).nonzero()[0].tolist() == [*range(62, 68)]
    rows = edges.border(LABELS.T)
    assert (rows == edges.border(LABELS).T).all()
    assert not edges.border_band(np.zeros_like(LABELS)).any()


def test_edges_of_the_photo_score_1_however_strong_and_others_about_0() -> None:
    photo = lightness()
    assert edges.edge_score(photo, photo, BAND) == pytest.approx(1)
    assert edges.edge_score(200 - 0.3 * photo, photo, BAND) == pytest.approx(1)
    assert abs(edges.edge_score(lightness(1), photo, BAND)) < 0.35


def test_only_edges_near_the_border_count() -> None:
    photo, elsewhere = lightness(), lightness()
    elsewhere[:, 75:] = 0
    assert edges.edge_score(elsewhere, photo, BAND) == pytest.approx(1)


def step(at: int) -> np.ndarray:
    """A dark and a light side, with a border at a column."""
    return np.where(np.arange(WIDTH) < at, 20.0, 80.0)[None].repeat(HEIGHT, 0)


def test_pasting_along_a_mask_that_misses_the_edge_and_a_halo_lower_the_score() -> None:
    photo, pasted, halo = step(65), step(67), step(65)
    halo[:, 65:68] = 50
    assert edges.edge_score(pasted, photo, BAND) < 0.5
    assert edges.edge_score(halo, photo, BAND) < 0.9


def test_flat_picture_scores_0_and_without_edges_to_compare_with_there_is_no_score() -> None:
    photo, flat = lightness(), np.full((HEIGHT, WIDTH), 50.0)
    assert edges.edge_score(flat, photo, BAND) == 0
    assert math.isnan(edges.edge_score(photo, flat, BAND))
    assert math.isnan(edges.edge_score(photo, photo, np.zeros_like(BAND)))


def test_averages_leave_out_what_is_not_known() -> None:
    assert mean_known([1.0, math.nan, 3.0]) == 2
    assert math.isnan(mean_known([math.nan]))
    assert math.isnan(mean_known([]))
    means = mean_of_known(np.array([[1.0, math.nan, math.nan], [3.0, 4.0, math.nan]]))
    np.testing.assert_array_equal(means, [2.0, 4.0, math.nan])
