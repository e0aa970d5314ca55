"""Training photos from folders and from TFDS: their order, names and sizes, and rejected sources."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.training.data.photos import find_photos
from tests.helpers.pictures import noise, save
from tests.helpers.training_data import batches, make_folder, photo_indices, unmasked


def test_photos_of_folders_and_subfolders_are_sorted_by_name(tmp_path: Path):
    make_folder(tmp_path / "one", {"b.jpg": 1, "a.PNG": 2, "deep/c.webp": 3})
    (tmp_path / "one" / "notes.txt").write_text("no picture")
    make_folder(tmp_path / "two", {"a2.png": 4})
    photos = find_photos([str(tmp_path / "one"), str(tmp_path / "two")])
    assert [photos.name(index) for index in range(len(photos))] == ["a", "b", "c", "a2"]
    np.testing.assert_array_equal(photos.read(3), noise(20, 24, 4))


def test_an_unreachable_photo_has_a_placeholder_size_instead_of_an_error(tmp_path: Path):
    save(tmp_path / "a.png", noise(20, 24))
    save(tmp_path / "b.png", noise(20, 24))
    photos = find_photos([str(tmp_path)])
    (tmp_path / "b.png").unlink()
    found = photos.fingerprint()
    assert found["b.png"] == [-1, ""]
    assert found["a.png"][0] == (tmp_path / "a.png").stat().st_size


def test_missing_folders_and_folders_without_images_are_reported(tmp_path: Path):
    with pytest.raises(UserError, match=r"photos .*/nope is not a folder; give a folder of images, or tfds:NAME$"):
        find_photos([str(tmp_path / "nope")])
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"has no images \(.jpg, .*\); give a folder that has some$"):
        find_photos([str(tmp_path)])


def test_photos_marked_in_the_index_are_left_out(tmp_path: Path):
    make_folder(tmp_path / "in" / "images", {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3})
    assert len(find_photos([str(tmp_path / "in" / "images")], "for_tests")) == 3  # without an index none is left out
    index = tmp_path / "in" / "index.csv"
    index.write_text("file,source,for_tests\na,x,0\nb,y,1\n")
    photos = find_photos([str(tmp_path / "in" / "images")], "for_tests")
    assert [photos.name(number) for number in range(len(photos))] == ["a", "c"]
    assert len(find_photos([str(tmp_path / "in" / "images")])) == 3
    with pytest.raises(UserError, match=r"index.csv has no column test; fix it, or give --config.leave_out="):
        find_photos([str(tmp_path / "in" / "images")], "test")
    index.write_text("file,for_tests\na,0\nb.jpg,1\n")
    assert len(find_photos([str(tmp_path / "in" / "images")], "for_tests")) == 2
    index.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"index.csv cannot be read \(.*\); fix it, or give --config.leave_out="):
        find_photos([str(tmp_path / "in" / "images")], "for_tests")
    index.write_text("file,for_tests\na,1\nb,1\nc,1\n")
    with pytest.raises(UserError, match=r"all 3 photos of .* are left out as for_tests"):
        find_photos([str(tmp_path / "in" / "images")], "for_tests")


def fake_tfds(monkeypatch: pytest.MonkeyPatch, source: Any) -> None:
    module = ModuleType("tensorflow_datasets")
    module.data_source = source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


def test_a_tfds_data_source_is_read_without_tensorflow(monkeypatch: pytest.MonkeyPatch):
    requested = []

    def source(name: str, split: str) -> list[dict[str, np.ndarray]]:
        requested.append((name, split))
        return [{"image": noise(12, 14, 0)}, {"image": noise(9, 9, 1)[..., :1]}]

    fake_tfds(monkeypatch, source)
    photos = find_photos(["tfds:coco/2017:validation"])
    assert find_photos(["tfds:flowers"])
    assert requested == [("coco/2017", "validation"), ("flowers", "train")]
    assert len(photos) == 2
    assert photos.name(1) == "00000001"
    assert photos.fingerprint() == {"tfds:coco/2017:validation": [2, ""]}
    np.testing.assert_array_equal(photos.read(0), noise(12, 14, 0))
    assert photos.read(1).mode == "RGB"
    assert photo_indices(next(batches(unmasked(photos, [0, 1]))))


def test_an_unreadable_tfds_dataset_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch):
    fake_tfds(monkeypatch, lambda name, split: (_ for _ in ()).throw(ValueError("Failed to find nope\nmore")))
    with pytest.raises(
        UserError, match=r"^tfds:nope cannot be read \(Failed to find nope\); prepare it as array_record"
    ):
        find_photos(["tfds:nope"])
    with pytest.raises(UserError, match="cannot be combined with others"):
        find_photos(["tfds:nope", "elsewhere"])
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        UserError, match=r"^tfds:nope cannot be read .*; run pip install tensorflow-datasets array_record "
    ):
        find_photos(["tfds:nope"])
