"""--point person=X,Y: of a region, the component that lies there."""

from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.models.voc import CLASSES
from msst_jax.regions.masks import MaskOptions
from msst_jax.regions.points import Point, check_points
from msst_jax.regions.selection import select_regions
from tests.helpers.segmenters import CAT, DOG, PERSON, label_probabilities, people


def select(probabilities: np.ndarray, names: list[str], *points: Point, **more: Any) -> dict[str, np.ndarray]:
    given = more.pop("given", {})
    places = {point: (point.x, point.y) for point in points}
    return select_regions(MaskOptions(**more), probabilities, CLASSES, names, given, points=places)


@pytest.mark.parametrize("hard", [True, False])
def test_a_point_takes_the_component_under_it_and_leaves_the_others_to_no_region(hard: bool):
    labels = people()
    masks = select(label_probabilities(labels), ["person", "dog"], Point("person", 40, 50), hard=hard)
    columns = np.arange(labels.shape[1])
    expected = (labels == PERSON) & (columns > 30) & (columns < 50)
    np.testing.assert_array_equal(masks["person"] > 0.5, expected)
    assert masks["person"][expected].min() == 1
    np.testing.assert_array_equal(masks["dog"] > 0.5, labels == DOG)


def test_a_point_finds_what_is_too_small_or_less_likely_than_something_else():
    labels = people()
    dog = labels == DOG
    probabilities = label_probabilities(labels)
    y, x = np.argwhere(dog)[0]
    assert (select(probabilities, ["dog"], Point("dog", x, y), min_speck=5.0)["dog"] > 0.5)[dog].all()
    faint = probabilities.copy()
    faint[dog] = 0
    faint[dog, CAT], faint[dog, DOG] = 0.7, 0.3
    mask = select(faint, ["dog"], Point("dog", x, y))["dog"]
    np.testing.assert_array_equal(mask > 0.5, dog)


def test_two_points_do_not_take_the_same_pixels():
    labels = people()
    y, x = np.argwhere(labels == DOG)[0]
    masks = select(label_probabilities(labels), ["person", "dog"], Point("person", 40, 50), Point("dog", x, y))
    assert not ((masks["person"] > 0.5) & (masks["dog"] > 0.5)).any()


@pytest.mark.parametrize(
    ("point", "given", "message"),
    [
        (
            Point("dog", 40, 50),
            False,
            r"^--point dog=40,50: there is no dog at this point, only person 90%; give another",
        ),
        (
            Point("person", 40, 50),
            True,
            r"there is no person at this point, only given masks 100%; .* --mask person=FILE",
        ),
        (Point("dgo", 1, 1), False, r"there is no region 'dgo'"),
    ],
)
def test_a_point_at_something_else_says_what_is_there(point: Point, given: bool, message: str):
    labels = people()
    masks = {"friend": (labels == PERSON).astype(np.float32)} if given else {}
    with pytest.raises(UserError, match=message):
        select(label_probabilities(labels), [point.region], point, given=masks)


@pytest.mark.parametrize(("given", "claimants"), [(False, "given points"), (True, "given masks and points")])
def test_errors_blame_what_was_given_points_or_masks_or_both(given: bool, claimants: str):
    """The only dog is the rear half of a person, taken by the point."""
    labels, columns = people(), np.arange(80)
    middle = (labels == PERSON) & (columns > 30) & (columns < 50)
    probabilities = label_probabilities(np.where(middle, PERSON, 0))
    probabilities[middle] = 0
    probabilities[middle, PERSON], probabilities[middle, DOG] = 0.45, 0.55
    masks = {"friend": np.tile(columns < 4, (60, 1)).astype(np.float32)} if given else {}
    with pytest.raises(UserError, match=f"'dog' is entirely covered by the {claimants}; found: .*{claimants} "):
        select(probabilities, ["person", "dog"], Point("person", 40, 50), given=masks)


def test_a_point_is_one_of_the_photo_at_its_own_size():
    assert Point("dog", 0, 0).scaled((640, 480), (320, 240)) == (0, 0)
    assert Point("dog", 639, 479).scaled((640, 480), (320, 240)) == (319, 239)
    assert Point("dog", 3, 1).scaled((4, 2), (400, 100)) == (350, 75)
    with pytest.raises(
        UserError, match=r"^--point dog=640,0 lies outside the photo of 640x480 pixels; give X from 0 to 639"
    ):
        Point("dog", 640, 0).scaled((640, 480), (320, 240))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("cat", r"^region 'cat' has a point but no style; add --style cat=FILE or drop its --point$"),
        ("background", r"^--point background=1,2: background is what no other region claims; drop its --point$"),
        ("statue", r"^region 'statue' has a mask and a point; drop its --mask or its --point$"),
        (
            "person#1",
            r"^--point person#1=1,2: a number and a point both say which one; drop its --point or the number$",
        ),
    ],
)
def test_a_region_that_can_have_no_point_is_named(region: str, message: str):
    with pytest.raises(UserError, match=message):
        check_points([Point(region, 1, 2)], ["person#1", "statue", "background"], ["statue"])
