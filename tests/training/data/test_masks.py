"""Masks of training photos: given ones are checked, those that hosts compute must be seen by every host."""

import time
from pathlib import Path

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.regions.mask_files import NotAMaskError
from msst_jax.training.data.masks import FolderMasks, open_generated, open_masks
from msst_jax.training.data.photos import Photos, find_photos
from msst_jax.training.data.pipeline import PhotoExamples
from tests.helpers.pictures import save, stripe
from tests.helpers.training_data import NAMES, make_folder


def two_photos(folder: Path) -> Photos:
    return find_photos([str(make_folder(folder / "photos", {"a.png": 0, "b.png": 1}))])


def make_masks(folder: Path, *names: str) -> Path:
    (folder / "person").mkdir(parents=True, exist_ok=True)
    for name in names:
        save(folder / "person" / f"{name}.png", stripe(20, 24, 0, 0.5))
    return folder


def test_masks_that_are_label_maps_are_refused_before_training(tmp_path: Path):
    photos = two_photos(tmp_path)
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", np.arange(480, dtype=np.uint8).reshape(20, 24) // 100)
    with pytest.raises(NotAMaskError, match=rf"^masks {tmp_path} is a map of labels \(values 0, 1, 2\)"):
        open_masks(photos, [tmp_path], NAMES, all_needed=True)


def test_training_masks_of_0_and_1_are_whole_and_a_black_one_is_empty(tmp_path: Path):
    photos = two_photos(tmp_path)
    save(tmp_path / "a.png", stripe(20, 24, 0, 0.5) // 255)
    save(tmp_path / "b.png", 0 * stripe(20, 24, 0, 0.5))
    examples = PhotoExamples(photos, FolderMasks(photos, [tmp_path], NAMES), [0, 1], 8)
    np.testing.assert_array_equal(examples[0]["masks"]["person"], stripe(20, 24, 0, 0.5))
    assert not np.asarray(examples[1]["masks"]["person"]).any()


def test_a_photo_whose_computed_mask_this_host_does_not_see_is_an_error_and_never_background(tmp_path: Path):
    photos = find_photos([str(make_folder(tmp_path / "photos", {f"{name}.png": 0 for name in "abcd"}))])
    masks = make_masks(tmp_path / "masks", "b")
    damaged = tmp_path / "photos" / "a.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    message = (
        rf"^2 of 4 photos have no mask in {masks} on host 0 \(the first: c\); "
        "give a --workdir on a disk that all hosts share, or --masks DIR$"
    )
    with pytest.raises(UserError, match=message):
        open_generated(photos, masks, NAMES, patience=0)
    make_masks(masks, "c", "d")
    assert [*open_generated(photos, masks, NAMES, patience=0).regions(3)] == ["person"]  # the damaged one needs none


def test_masks_that_a_network_disk_shows_late_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photos = two_photos(tmp_path)
    masks = make_masks(tmp_path / "masks", "a")
    monkeypatch.setattr(time, "sleep", lambda seconds: make_masks(masks, "b"))
    assert [*open_generated(photos, masks, NAMES, patience=60).regions(1)] == ["person"]


@pytest.mark.parametrize("most", [1, 100])
def test_computed_masks_that_are_nearly_empty_are_neither_a_map_of_labels_nor_masks_of_0_and_1(tmp_path, most: int):
    """In photos that show nobody the segmenter leaves some faint values."""
    photos, faint = two_photos(tmp_path), (np.arange(480).reshape(20, 24) % (most + 1)).astype(np.uint8)
    (tmp_path / "masks" / "person").mkdir(parents=True)
    for name in ("a", "b"):
        save(tmp_path / "masks" / "person" / f"{name}.png", faint)
    read = open_generated(photos, tmp_path / "masks", NAMES, patience=0).read(0)["person"]
    np.testing.assert_array_equal(np.asarray(read), faint)
