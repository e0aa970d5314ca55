"""Masks sum to 1 at every pixel, whatever the mask files look like."""

import numpy as np
import pytest

from msst_jax.cli.flags import parse_region_files
from msst_jax.errors import UserError
from msst_jax.regions.masks import area_fractions, compose_masks, feather, to_one_hot
from tests.helpers.pictures import stripe


def mask(begin: float, end: float, height: int = 4, width: int = 10) -> np.ndarray:
    return stripe(height, width, begin, end).astype(np.float32) / 255


def assert_sums_to_one(masks: np.ndarray) -> None:
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-6)


def test_background_is_what_no_other_region_claims():
    masks = compose_masks({"dog": mask(0, 0.3), "cat": mask(0.3, 0.5)}, ["background", "cat", "dog"])
    assert_sums_to_one(masks)
    np.testing.assert_allclose(area_fractions(masks), [0.5, 0.2, 0.3])


def test_an_unused_mask_belongs_to_the_background():
    masks = compose_masks({"dog": mask(0, 0.3), "cat": mask(0.3, 0.5)}, ["dog", "background"])
    np.testing.assert_allclose(area_fractions(masks), [0.3, 0.7])


def test_overlapping_regions_share_their_pixels():
    masks = compose_masks({"dog": mask(0, 0.6), "cat": mask(0.4, 1)}, ["dog", "cat"])
    assert_sums_to_one(masks)
    np.testing.assert_array_equal(masks[0, 4:6], 0.5)
    np.testing.assert_array_equal(masks[0, 0], [1, 0])


@pytest.mark.parametrize("soft", [0.0, 0.8, 5.0])
def test_soft_and_feathered_masks_sum_to_one(soft: float):
    rng = np.random.default_rng(0)
    found = {name: rng.random((9, 13), np.float32) for name in ("dog", "cat")}
    masks = compose_masks(found, ["dog", "cat", "background"])
    assert_sums_to_one(masks)
    assert_sums_to_one(feather(masks, soft))
    assert_sums_to_one(feather(to_one_hot(masks), soft))
    assert sum(area_fractions(masks)) == pytest.approx(1)


def test_a_pixel_outside_all_masks_is_assigned_to_a_region():
    dog, cat = mask(0, 0.5, 40, 40), mask(0.5, 1, 40, 40)
    dog[0, 0] = 0
    assert_sums_to_one(compose_masks({"dog": dog, "cat": cat}, ["dog", "cat"]))


def test_hard_masks_give_each_pixel_to_its_largest_region():
    masks = compose_masks({"dog": np.full((2, 2), 0.6, np.float32), "cat": mask(0, 0.5, 2, 2)}, ["dog", "cat"])
    hard = to_one_hot(masks)
    assert hard[0].tolist() == [[0, 1], [1, 0]]


def test_a_single_region_covers_the_whole_photo():
    masks = compose_masks({"background": np.ones((3, 4), np.float32)}, ["background"])
    np.testing.assert_array_equal(masks, np.ones((3, 4, 1)))
    np.testing.assert_array_equal(compose_masks({"dog": mask(0, 1)}, ["dog"]), np.ones((4, 10, 1)))


@pytest.mark.parametrize(
    ("found", "names", "message"),
    [
        ({"dog": (0, 0.5)}, ["dgo", "background"], r"no region 'dgo'; regions are dog, background: .* --mask dgo=FILE"),
        (
            {"dog": (0, 1)},
            ["dog", "background"],
            r"'background' is empty: the other regions leave .* \(dog 100%\)",
        ),
        ({"dog": (0, 0.5)}, ["dog"], r"50.0% of the photo lies in no region \(dog\); add --style background=FILE"),
        ({"background": (0, 0.5)}, ["background"], "50.0% .* paint the masks larger"),
    ],
)
def test_mismatched_regions_and_styles_are_rejected(found, names, message):
    with pytest.raises(UserError, match=message):
        compose_masks({name: mask(*ends) for name, ends in found.items()}, names)


def test_region_files_keep_their_order_and_equals_signs():
    assert list(parse_region_files(["b=x=1.jpg", "a=y.jpg"], "style").items()) == [("b", "x=1.jpg"), ("a", "y.jpg")]


@pytest.mark.parametrize("flag", ["style", "mask"])
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["dog=a", "dog=b"], r"names the region 'dog' twice \(a and b\); leave one out"),
        (["dog"], "'dog' is not NAME=FILE; write"),
        (["=a"], "'=a' is not NAME=FILE; write"),
        (["dog="], "'dog=' is not NAME=FILE; write"),
    ],
)
def test_malformed_region_files_are_rejected(flag: str, pairs: list[str], message: str):
    with pytest.raises(UserError, match=f"--{flag} {message}"):
        parse_region_files(pairs, flag)
