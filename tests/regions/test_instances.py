"""person#1, person#2: the components of a class by number, from left to right, and the rest of them."""

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.regions.instances import find_instances
from msst_jax.regions.masks import MaskOptions, compose_masks
from msst_jax.regions.region_names import region_classes
from msst_jax.regions.selection import find_classes, region_masks
from tests.helpers.segmenters import DOG, PERSON, label_probabilities, people


def likeliest(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: mask > 0.5 for name, mask in masks.items()}


@pytest.mark.parametrize("hard", [True, False])
def test_instances_are_numbered_from_left_to_right_and_the_class_alone_is_the_rest(hard: bool):
    labels = people()
    names = ["person#2", "background", "person", "dog"]
    masks = region_masks(label_probabilities(labels), names, hard=hard, min_speck=0.3)
    found, columns = likeliest(masks), np.arange(labels.shape[1])
    middle = (columns > 30) & (columns < 50)
    np.testing.assert_array_equal(found["person#2"], (labels == PERSON) & middle)
    np.testing.assert_array_equal(found["person"], (labels == PERSON) & ~middle)
    np.testing.assert_array_equal(found["dog"], labels == DOG)
    np.testing.assert_allclose(compose_masks(masks, [*masks, "background"]).sum(-1), 1, atol=1e-6)


def test_the_halo_of_an_instance_goes_with_it_and_nothing_is_lost():
    probabilities = label_probabilities(people())
    whole = region_masks(probabilities, ["person"])["person"]
    parts = region_masks(probabilities, ["person#1", "person#2", "person#3"])
    np.testing.assert_allclose(sum(parts.values()), whole, atol=1e-6)
    assert all(mask[0].max() > 0 for mask in parts.values())  # the row above all of them


def test_instances_can_be_joined_with_each_other_and_with_classes():
    labels = people()
    found = likeliest(region_masks(label_probabilities(labels), ["person#1+person#3", "person#2+dog"]))
    np.testing.assert_array_equal(found["person#1+person#3"] | found["person#2+dog"], labels > 0)
    assert not (found["person#1+person#3"] & found["person#2+dog"]).any()


def test_numbers_stay_those_of_the_photo_where_a_mask_is_given():
    probabilities, labels = label_probabilities(people()), people()
    first = find_instances(labels == PERSON).nearest == 1
    claimed = ((labels == PERSON) & first).astype(np.float32)
    alone, beside = (region_masks(probabilities, ["person#2"], claimed=part)["person#2"] for part in (None, claimed))
    np.testing.assert_allclose(beside * (claimed == 0), alone * (claimed == 0), atol=1e-6)


def test_specks_have_no_number():
    labels = people()
    labels[2, 25] = PERSON
    masks = region_masks(label_probabilities(labels), ["person#2"], min_speck=0.3)
    assert np.flatnonzero(likeliest(masks)["person#2"].any(0)).min() > 30


def test_what_is_in_a_photo_names_the_instances_of_a_class_that_has_several():
    found = find_classes(MaskOptions(), label_probabilities(people()), ("background", *"abcdefghijklmnopqrst"))
    assert {name: len(each.fractions) for name, each in found.several.items()} == {"o": 3}
    assert found.describe()["o"] == "o 21% (#1 7%, #2 5%, #3 9%)"
    assert sum(found.instance_fractions().values()) == pytest.approx(found.fractions["o"])
    assert [x for x, _ in found.instances["o"].middles] == sorted(x for x, _ in found.instances["o"].middles)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["person#4"],
            r"^region 'person#4' was not found in the photo, which has 3 of person, counted from the left: person#1 "
            r"7%, person#2 5%, person#3 9%; give one of these, or paint it: `.*` .* give --mask person#4=FILE$",
        ),
        (
            ["cat#1"],
            r"^region 'cat#1' was not found in the photo; found: background 78%, person 21%, dog 1%: leave its",
        ),
        (["person#0"], r"^region 'person#0': 0 after # is no number; .* from 1, left to right: write person#1, or"),
        (["person#"], r"nothing after # is no number"),
        (["person#one"], r"one after # is no number"),
        (
            ["dgo#1"],
            r"no region 'dgo'; .* \(did you mean dog\?\) or give --mask dgo#1=FILE, or a --segmenter of your own",
        ),
        (["person#1", "person#01"], r"class 'person#1' is named twice"),
        (["background#1"], r"background is what no other region claims"),
        (
            ["person#1", "person#2", "person#3", "person"],
            r"^region 'person' is empty: all that is in the photo is person#1, person#2, person#3; found: ",
        ),
    ],
)
def test_what_cannot_be_counted_is_an_error_that_says_what_is_there(names: list[str], message: str):
    with pytest.raises(UserError, match=message):
        region_masks(label_probabilities(people()), names)


def test_a_number_beyond_those_in_the_photo_is_an_error_even_where_an_absent_class_is_none():
    probabilities = label_probabilities(people())
    assert region_masks(probabilities, ["cat"], must_exist=False)["cat"].max() < 0.5
    with pytest.raises(UserError, match="which has 3 of person"):
        region_masks(probabilities, ["person#9"], must_exist=False)


def test_videos_and_trainings_refuse_numbers():
    with pytest.raises(
        UserError, match=r"'person#1\+dog': # counts .*; name person\+dog, or give --mask person#1\+dog="
    ):
        region_classes(["person#1+dog", "background"])
