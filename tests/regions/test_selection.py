"""Regions selected from class probabilities: joined classes, sums of 1, and unknown or absent regions."""

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import compose_masks, format_fractions
from msst_jax.regions.selection import class_fractions, region_masks
from tests.helpers.pictures import noise
from tests.helpers.segmenters import CAT, DOG, PERSON, ColourSegmenter, animals, colour_segmenter, label_probabilities


def test_a_region_can_join_classes_and_the_rest_is_background():
    labels = animals()
    found = region_masks(label_probabilities(labels), ["background", "person+dog"])
    assert list(found) == ["person+dog"]
    np.testing.assert_array_equal(found["person+dog"] > 0.5, np.isin(labels, (PERSON, DOG)))
    assert found["person+dog"].max() == pytest.approx(0.905)
    masks = compose_masks(found, ["background", "person+dog"])
    np.testing.assert_array_equal(masks[..., 0] > 0.5, np.isin(labels, (0, CAT)))


@pytest.mark.parametrize("min_speck", [0.0, 0.3])
@pytest.mark.parametrize("hard", [True, False])
def test_masks_and_background_sum_to_one(hard: bool, min_speck: float):
    rng = np.random.default_rng(0)
    photo = Image.fromarray((noise(60, 80) * rng.random()).astype(np.uint8))
    found = class_probabilities(colour_segmenter(ColourSegmenter(sharpness=4.0)), photo)
    masks = region_masks(found, ["cat", "person", "dog"], hard=hard, min_speck=min_speck)
    assert sum(masks.values()).max() <= 1 + 1e-6
    assert {mask.dtype for mask in masks.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(compose_masks(masks, [*masks, "background"]).sum(-1), 1, atol=1e-6)
    if hard:
        assert {value for mask in masks.values() for value in np.unique(mask)} == {0, 1}
        if not min_speck:
            np.testing.assert_array_equal(masks["cat"], found.argmax(-1) == CAT)
    else:
        assert ((masks["cat"] > 0.1) & (masks["cat"] < 0.9)).any()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dgo"], r"^there is no region 'dgo'; regions are background, aeroplane, .*tvmonitor, or any .* --mask dgo="),
        (["person+dgo"], r"no region 'dgo'; .* give --mask person\+dgo=FILE"),
        (["person+"], r"no region ''; "),
        (["person+background"], r"'person\+background': background is what no other region claims"),
        (["person+dog", "dog"], r"class 'dog' is named twice, in region 'person\+dog' and in 'dog'; leave one out"),
        (["dog+dog"], r"class 'dog' is named twice"),
        (["bird"], r"^region 'bird' was not found in the photo; found: background 56%, cat 22%, person 21%, dog 1%: "),
        (["bird+sheep", "cat"], r"^region 'bird\+sheep' was not found .* give --mask bird\+sheep=FILE$"),
    ],
)
def test_unknown_and_absent_regions_are_rejected(names: list[str], message: str):
    with pytest.raises(UserError, match=message):
        region_masks(label_probabilities(animals()), [*names, "background"])


def test_the_error_says_whether_a_region_is_too_small_or_too_faint():
    probabilities = label_probabilities(animals())
    specks = r"'dog' was found only in specks smaller than config.min_speck = 2% of the photo"
    with pytest.raises(UserError, match=rf"{specks}; found: background 57%, cat 22%, person 21%: leave its --style"):
        region_masks(probabilities, ["dog"], min_speck=2.0)
    faint = label_probabilities(animals(), 0.4)
    certainty = r"'dog' has a probability of at most 40%, although it is the likeliest class somewhere"
    with pytest.raises(UserError, match=rf"{certainty}; found: background 56%.* with --config.hard_masks=True, or "):
        region_masks(faint, ["dog"])
    assert region_masks(faint, ["dog"], hard=True)["dog"].max() == 1


def test_area_fractions_of_the_classes_sum_to_one():
    labels = animals()
    found = class_fractions(label_probabilities(labels))
    assert list(found) == ["background", "cat", "person", "dog"]
    assert found["dog"] == pytest.approx((labels == DOG).mean())
    assert sum(found.values()) == pytest.approx(1)
    assert list(class_fractions(label_probabilities(labels), 2.0)) == ["background", "cat", "person"]
    assert format_fractions({"cat": 0.996, "dog": 0.004}) == "cat 100%, dog <1%"
