"""Registered segmenters: their classes become regions, and what they return is checked."""

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.own_segmenter import OwnSegmenter, load_own_segmenter
from msst_jax.regions.segmenter import load_segmenter, segmenter_classes
from msst_jax.regions.selection import class_fractions, region_masks
from msst_jax.registry import register_segmenter
from tests.helpers.own_networks import blue_is_sky, sky_photo
from tests.helpers.segmenters import refinements


def registered(segment, classes=("sky",), name: str = "mine") -> OwnSegmenter:
    register_segmenter(name, lambda: segment, classes=classes)
    return load_own_segmenter(name)


def test_its_classes_are_regions_and_the_rest_is_background():
    segmenter = registered(blue_is_sky)
    photo = sky_photo(40, 60) / 255
    found = class_probabilities(segmenter, photo)
    assert (found.shape, found.dtype) == ((40, 60, 2), np.float32)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    masks = region_masks(found, ["sky", "background"], segmenter.classes, min_speck=0.3)
    np.testing.assert_array_equal(masks["sky"] > 0.5, np.arange(40)[:, None] < np.full((1, 60), 16))
    assert list(class_fractions(found, classes=segmenter.classes)) == ["background", "sky"]
    with pytest.raises(UserError, match="there is no region 'person'; regions are background, sky, or any name with a"):
        region_masks(found, ["person"], segmenter.classes)
    with pytest.raises(UserError, match="region 'sky' was not found in the photo; found: background 100%: leave its"):
        region_masks(class_probabilities(segmenter, np.zeros((8, 8, 3))), ["sky"], segmenter.classes)


def test_it_sees_the_photo_at_the_size_of_the_result_and_its_edges_are_refined(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def segment(photo: np.ndarray) -> np.ndarray:
        seen.append((photo.shape, photo.dtype, float(photo.max()) <= 1))
        return blue_is_sky(photo)

    sizes = refinements(monkeypatch)
    assert class_probabilities(registered(segment), sky_photo(40, 60) / 255, (30, 20), refine=True).shape == (20, 30, 2)
    assert seen == [((20, 30, 3), np.float32, True)]
    assert sizes == [(20, 30)]


def test_a_channel_of_the_background_comes_first_and_sums_are_one():
    segmenter = registered(lambda photo: np.full((*photo.shape[:2], 3), (0.3, 0.2, 0.0)), ("sky", "background", "sea"))
    found = segmenter.probabilities(np.zeros((4, 5, 3), np.float32))
    np.testing.assert_allclose(found[0, 0], (0.4, 0.6, 0.0), atol=1e-6)
    nothing = registered(lambda photo: np.zeros((*photo.shape[:2], 2)), ("background", "sky"), "nothing")
    np.testing.assert_array_equal(nothing.probabilities(np.zeros((4, 5, 3), np.float32))[0, 0], (1, 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 5)), r"returned \(4, 5\) for a photo of \(4, 5\); let it return \(4, 5, 1\)$"),
        (np.zeros((4, 5, 2)), r"returned \(4, 5, 2\) for a photo of \(4, 5\); let it return \(4, 5, 1\)$"),
        (np.full((4, 5, 1), np.nan), "returned values that are not finite numbers; let it return probabilities$"),
        (np.full((4, 5, 1), 255), "returned values from 255 to 255, with sums up to 255; let it return probabilities:"),
        (np.full((4, 5, 1), -3.0), "returned values from -3 to -3, with sums up to -3; let it return probabilities:"),
        (np.full((4, 5, 1), "a"), "returned values that are not finite numbers"),
    ],
    ids=["no channels", "too many channels", "nan", "uint8 masks", "logits", "texts"],
)
def test_what_is_no_probability_is_one_line_that_says_what_was_returned(value: np.ndarray, message: str):
    with pytest.raises(UserError, match=rf"^segmenter mine, with the classes sky, {message}"):
        registered(lambda photo: value).probabilities(np.zeros((4, 5, 3), np.float32))


def test_it_is_loaded_by_name_and_says_which_regions_it_lacks(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    register_segmenter("mine", lambda: blue_is_sky, classes=["sky"])
    assert segmenter_classes("mine") == ("background", "sky")
    segmenter = load_segmenter("mine", ["sky"])
    assert segmenter.record() == {"name": "mine", "classes": ["background", "sky"]}
    assert caplog.messages == ["segmenter: mine, which segments sky"]
    with pytest.raises(UserError, match=r"^mine segments only sky, not dog; give --mask dog=FILE$"):
        load_segmenter("mine", ["sky", "dog"])
    register_segmenter("broken", lambda: lambda photo: photo / "x", classes=["sky"])
    with pytest.raises(UserError, match=r"^segmenter broken fails in .*.py, line \d+ \(\w+Error: .*mend it$"):
        class_probabilities(load_segmenter("broken"), sky_photo(4, 4) / 255)
    register_segmenter("wrong", lambda: 3, classes=["sky"])
    with pytest.raises(UserError, match=r"^segmenter wrong: build\(\) returned int; let it return a function$"):
        load_segmenter("wrong")
