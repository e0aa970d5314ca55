"""Mask files are matched to training photos by region and name."""

from pathlib import Path

import numpy as np
import pytest

from msst_jax.regions.mask_files import NotAMaskError
from msst_jax.training.data.masks import check_masks, mask_files
from msst_jax.training.data.photos import find_photos
from msst_jax.training.data.pipeline import PhotoExamples
from tests.helpers.pictures import save, stripe
from tests.helpers.training_data import NAMES, make_folder


def test_masks_are_found_in_region_folders_or_flat_for_a_single_region(tmp_path: Path):
    make_folder(tmp_path, {"person/a.png": 0, "cat/a.png": 0, "b.png": 0})
    assert mask_files([tmp_path], NAMES, "a") == {"person": tmp_path / "person" / "a.png"}
    assert mask_files([tmp_path], NAMES, "b") == {"person": tmp_path / "b.png"}
    assert mask_files([tmp_path], ["person", "cat", "background"], "b") == {}
    assert mask_files([tmp_path], ["person", "cat", "background"], "a").keys() == {"person", "cat"}
    assert mask_files([tmp_path / "nope", tmp_path], NAMES, "c") == {}


def test_masks_that_are_label_maps_are_refused_before_training(tmp_path: Path):
    photos = find_photos([str(make_folder(tmp_path / "photos", {"a.png": 0, "b.png": 1}))])
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", np.arange(480, dtype=np.uint8).reshape(20, 24) // 100)
    with pytest.raises(NotAMaskError, match=rf"^masks {tmp_path} is a map of labels \(values 0, 1, 2\)"):
        check_masks(photos, [tmp_path], NAMES, all_needed=True)


def test_training_masks_of_0_and_1_are_whole_and_a_black_one_is_empty(tmp_path: Path):
    photos = find_photos([str(make_folder(tmp_path / "photos", {"a.png": 0, "b.png": 1}))])
    save(tmp_path / "a.png", stripe(20, 24, 0, 0.5) // 255)
    save(tmp_path / "b.png", 0 * stripe(20, 24, 0, 0.5))
    examples = PhotoExamples(photos, [0, 1], [tmp_path], NAMES, 8)
    np.testing.assert_array_equal(examples[0]["masks"]["person"], stripe(20, 24, 0, 0.5))
    assert not np.asarray(examples[1]["masks"]["person"]).any()
