"""Mask files are matched to training photos by region and name."""

from pathlib import Path

from msst_jax.training.data.masks import mask_files
from tests.helpers.training_data import NAMES, make_folder


def test_masks_are_found_in_region_folders_or_flat_for_a_single_region(tmp_path: Path):
    make_folder(tmp_path, {"person/a.png": 0, "cat/a.png": 0, "b.png": 0})
    assert mask_files([tmp_path], NAMES, "a") == {"person": tmp_path / "person" / "a.png"}
    assert mask_files([tmp_path], NAMES, "b") == {"person": tmp_path / "b.png"}
    assert mask_files([tmp_path], ["person", "cat", "background"], "b") == {}
    assert mask_files([tmp_path], ["person", "cat", "background"], "a").keys() == {"person", "cat"}
    assert mask_files([tmp_path / "nope", tmp_path], NAMES, "c") == {}
