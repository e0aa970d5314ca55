"""Small components of regions, and small holes in them, are assigned to the surrounding class."""

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.models import voc
from msst_jax.regions.components import remove_small_components
from msst_jax.regions.selection import class_fractions, region_masks, single_classes
from tests.helpers.segmenters import CAT, DOG, PERSON, label_probabilities

SINGLE_CLASSES = single_classes(voc.CLASSES)


def with_specks() -> np.ndarray:
    """Probabilities (100, 100, 21): a cat that contains a speck of dog and one of bird, and a distant speck of cat."""
    labels = np.zeros((100, 100), int)
    labels[10:50, 10:50] = CAT
    labels[20:24, 20:24] = DOG
    labels[30:33, 30:33] = voc.CLASSES.index("bird")
    labels[80:84, 80:84] = CAT
    probabilities = label_probabilities(labels, 0.6)
    probabilities[15:45, 15:45, CAT] += 0.5  # the likeliest class in the specks, except the speck's own
    probabilities[75:90, 75:90, CAT] += 0.1  # the far speck's halo
    return probabilities / probabilities.sum(-1, keepdims=True)


def test_specks_and_their_halo_are_assigned_to_the_surrounding_class():
    masks = region_masks(with_specks(), ["cat", "background"], min_speck=0.3)
    assert (masks["cat"][10:50, 10:50] > 0.5).all()
    assert not masks["cat"][75:90, 75:90].any()
    with pytest.raises(UserError, match="'dog' was found only in specks"):
        region_masks(with_specks(), ["cat", "dog"], min_speck=0.3)


def test_without_a_limit_every_speck_is_kept():
    probabilities = with_specks()
    masks = region_masks(probabilities, ["cat", "dog"], hard=True)
    np.testing.assert_array_equal(masks["cat"] == 1, probabilities.argmax(-1) == CAT)
    assert masks["dog"].sum() == 16
    assert remove_small_components(probabilities, SINGLE_CLASSES, 0.0) is probabilities


def test_a_component_of_two_joined_classes_is_one_component():
    labels = np.zeros((50, 50), int)
    labels[10:40, 10:40] = PERSON
    labels[40:42, 20:24] = DOG
    probabilities = label_probabilities(labels)
    joined = region_masks(probabilities, ["person+dog"], min_speck=1.0, hard=True)
    np.testing.assert_array_equal(joined["person+dog"] == 1, labels > 0)
    with pytest.raises(UserError, match="'dog' was found only in specks"):
        region_masks(probabilities, ["person", "dog"], min_speck=1.0)


def test_no_component_below_the_limit_remains_and_probabilities_sum_to_one():
    logits = np.random.default_rng(0).normal(size=(10, 12, 21)).repeat(4, 0).repeat(4, 1)
    probabilities = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    before = probabilities.copy()
    cleaned = remove_small_components(probabilities, SINGLE_CLASSES, 2.0)
    np.testing.assert_array_equal(probabilities, before)
    np.testing.assert_allclose(cleaned.sum(-1), 1, atol=1e-5)
    assert min(class_fractions(cleaned).values()) >= 0.02
    again = remove_small_components(cleaned, SINGLE_CLASSES, 2.0)
    np.testing.assert_array_equal(cleaned, again)


def test_a_certain_speck_becomes_background():
    labels = np.zeros((20, 20), int)
    labels[3, 3] = CAT
    cleaned = remove_small_components(label_probabilities(labels, 1.0), [(CAT,)], 1.0)
    np.testing.assert_array_equal(cleaned[..., 0], 1)
    assert not cleaned[..., 1:].any()


def with_hole() -> np.ndarray:
    """Probabilities (60, 60, 21): a person with a hole of 9 pixels whose rim is 40% background."""
    labels = np.zeros((60, 60), int)
    labels[10:50, 10:50] = PERSON
    labels[30:33, 30:33] = 0
    probabilities = label_probabilities(labels)
    rim = np.zeros(labels.shape, bool)
    rim[28:35, 28:35] = True
    rim &= labels == PERSON
    probabilities[rim] = 0.6 * np.eye(21)[PERSON] + 0.4 * np.eye(21)[0]
    return probabilities


@pytest.mark.parametrize("hard", [True, False])
def test_a_hole_in_a_region_is_filled_together_with_its_soft_rim(hard: bool):
    mask = region_masks(with_hole(), ["person"], min_speck=0.3, hard=hard)["person"]
    assert mask[10:50, 10:50].min() >= 0.9 - 1e-6  # the background of the rim is filled too
    assert mask[:9].max() < 0.1
    whole = class_fractions(with_hole(), 0.3)
    assert whole["person"] == 40 * 40 / 60**2


def test_a_hole_above_the_limit_is_kept():
    mask = region_masks(with_hole(), ["person"], min_speck=0.2, hard=True)["person"]
    assert not mask[30:33, 30:33].any()
    np.testing.assert_array_equal(remove_small_components(with_hole(), [(PERSON,)], 0.2), with_hole())


def test_a_hole_with_certain_probabilities_is_filled_too():
    labels = np.zeros((20, 20), int)
    labels[2:18, 2:18] = CAT
    labels[8, 8] = 0
    labels[9, 9] = DOG  # a speck that makes the hole larger
    cleaned = remove_small_components(label_probabilities(labels, 1.0), SINGLE_CLASSES, 1.0)
    np.testing.assert_array_equal(cleaned[2:18, 2:18, CAT], 1)
    np.testing.assert_allclose(cleaned.sum(-1), 1)


def test_a_hole_in_a_given_mask_is_not_filled_by_other_regions():
    probabilities = with_hole()
    claimed = np.zeros((60, 60), np.float32)
    claimed[10:50, 10:25] = 1  # a user-drawn mask with a hole
    claimed[20, 17] = 0
    probabilities[20, 17] = label_probabilities(np.array([0]))[0]
    mask = region_masks(probabilities, ["person"], claimed=claimed, min_speck=0.3)["person"]
    assert not mask[10:50, 10:25].any()
    assert mask[10:50, 25:50].min() >= 0.9 - 1e-6


def test_regions_and_given_masks_sum_to_at_most_one():
    logits = np.random.default_rng(0).normal(size=(10, 12, 21)).repeat(4, 0).repeat(4, 1)
    probabilities = (np.exp(2 * logits) / np.exp(2 * logits).sum(-1, keepdims=True)).astype(np.float32)
    probabilities[..., PERSON] += np.linspace(0, 5, 48)
    probabilities /= probabilities.sum(-1, keepdims=True)
    claimed = np.linspace(0, 1, 40, dtype=np.float32)[:, None].repeat(48, 1)
    masks = region_masks(probabilities, ["person"], claimed=claimed, min_speck=0.5)
    assert (sum(masks.values()) + claimed).max() <= 1 + 1e-6
