"""Crops, mirroring and color jitter: masks stay aligned with their photo and sum to 1 within it."""

from pathlib import Path

import numpy as np
from PIL import Image

from msst_jax.training.data.augment import GRAY, CropOptions, center_crop, random_crop, random_masks
from msst_jax.training.data.masks import FolderMasks
from msst_jax.training.data.photos import FolderPhotos
from msst_jax.training.data.pipeline import PhotoExamples
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.training_data import CROP, NAMES, SIZE


def source_of(folder: Path, names: list[str]) -> PhotoExamples:
    """a.png of a folder, with the masks in its subfolder masks/."""
    photos = FolderPhotos({"a.png": folder / "a.png"})
    return PhotoExamples(photos, FolderMasks(photos, [folder / "masks"], names), [0], SIZE)


def test_the_mask_is_cropped_and_mirrored_like_its_photo(tmp_path: Path):
    photo = np.repeat(stripe(24, 40, 0.3, 0.6)[..., None], 3, -1)
    save(tmp_path / "a.png", photo)
    (tmp_path / "masks").mkdir()
    save(tmp_path / "masks" / "a.png", photo[..., 0])
    source = source_of(tmp_path, NAMES)
    for seed in range(8):
        crop = random_crop(source[0], np.random.default_rng(seed), CROP, NAMES)
        np.testing.assert_allclose(crop["masks"][..., 0] / 255, crop["photo"][..., 0] / 255, atol=1 / 255)
    middle = center_crop(source[0], CropOptions(24, 1.0), NAMES)
    np.testing.assert_array_equal(middle["photo"], photo[:, 8:32])


def test_a_crop_larger_than_the_photo_contains_all_of_it_and_is_unlabeled_outside():
    photo = Image.fromarray(np.full((20, 30, 3), 200, np.uint8))
    whole = {"photo": photo, "masks": {"person": Image.new("L", photo.size, 255)}}
    places = set()
    for seed in range(20):
        crop = random_crop(whole, np.random.default_rng(seed), CropOptions(60, 3.0, 3.0), NAMES)
        inside = (crop["photo"] == 200).all(-1)
        assert inside.sum() == 20 * 30
        known = crop["masks"].sum(-1) / 255
        np.testing.assert_array_equal(known, crop["masks"][..., 0] / 255)
        np.testing.assert_array_equal(known == 1, inside)
        np.testing.assert_array_equal(known == 0, (crop["photo"] == GRAY).all(-1))
        places.add(tuple(np.argwhere(inside)[0]))
    assert len(places) > 10


def test_a_crop_longer_than_one_side_stays_within_the_other():
    photo = Image.fromarray(np.full((20, 60, 3), 200, np.uint8))
    for seed in range(10):
        crop = random_crop(
            {"photo": photo, "masks": {}}, np.random.default_rng(seed), CropOptions(40, 2.0, 2.0), ["background"]
        )
        np.testing.assert_array_equal(crop["masks"][..., 0].sum(0) / 255, np.full(40, 20))


def test_color_jitter_stays_within_its_range_and_does_not_change_masks():
    whole = {"photo": Image.new("RGB", (20, 20), (120, 100, 90)), "masks": {"person": Image.new("L", (20, 20), 255)}}
    seen = [random_crop(whole, np.random.default_rng(seed), CropOptions(8, 1.0, 1.0, 0.3), NAMES) for seed in range(30)]
    colours = np.array([crop["photo"][0, 0] for crop in seen], float)
    assert all((crop["photo"] == crop["photo"][0, 0]).all() and (crop["masks"][..., 0] == 255).all() for crop in seen)
    brightness = colours.mean(1) / np.mean([120, 100, 90])
    assert 0.68 < brightness.min() < 0.85
    assert 1.15 < brightness.max() < 1.32
    spread = colours.max(1) - colours.min(1)
    assert len(np.unique(spread)) > 10


def test_a_mask_of_another_size_is_stretched_and_overlapping_regions_share_pixels(tmp_path: Path):
    save(tmp_path / "a.png", noise(20, 20))
    for name in ("person", "cat"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        save(tmp_path / "masks" / name / "a.png", np.full((7, 9), 255, np.uint8))
    names = ["background", "person", "cat"]
    source = source_of(tmp_path, names)
    masks = center_crop(source[0], CROP, names)["masks"]
    np.testing.assert_array_equal(masks, np.broadcast_to([0, 128, 127], masks.shape))


def test_a_photo_without_masks_gets_random_regions_and_a_single_style_gets_all_of_it():
    rng = np.random.default_rng(0)
    masks = random_masks((40, 30), ["background", "person", "cat"], rng)
    assert masks.keys() == {"person", "cat"}
    assert all(0 < np.asarray(mask).mean() < 255 for mask in masks.values())
    empty = {"photo": Image.new("RGB", (20, 20)), "masks": {}}
    only = center_crop(empty, CROP, ["background"])
    np.testing.assert_array_equal(only["masks"] / 255, np.ones((SIZE, SIZE, 1)))
    nobody = random_crop(empty, rng, CROP._replace(random_regions=False), ["background", "person"])
    np.testing.assert_array_equal(nobody["masks"] / 255, np.broadcast_to([1.0, 0.0], (SIZE, SIZE, 2)))
