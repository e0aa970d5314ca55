"""The index of mask folders: what belongs to a photo, without a look at the disk for each."""

import os
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.training.data.mask_index import MaskIndex
from tests.helpers.training_data import NAMES, make_folder


def files(folders: list[Path], names: list[str], stem: str) -> dict[str, Path]:
    return MaskIndex(folders, names).files(stem)


def test_masks_are_found_in_region_folders_or_flat_for_a_single_region(tmp_path: Path):
    make_folder(tmp_path, {"person/a.png": 0, "cat/a.png": 0, "b.png": 0})
    assert files([tmp_path], NAMES, "a") == {"person": tmp_path / "person" / "a.png"}
    assert files([tmp_path], NAMES, "b") == {"person": tmp_path / "b.png"}
    assert files([tmp_path], ["person", "cat", "background"], "b") == {}
    assert files([tmp_path], ["person", "cat", "background"], "a").keys() == {"person", "cat"}
    assert files([tmp_path / "nope", tmp_path], NAMES, "c") == {}


def test_the_later_folder_counts_and_a_flat_mask_before_that_of_the_region(tmp_path: Path):
    make_folder(tmp_path / "one", {"person/a.png": 0, "a.png": 0, "b.png": 0})
    make_folder(tmp_path / "two", {"person/b.png": 0})
    both = [tmp_path / "one", tmp_path / "two"]
    assert files(both, NAMES, "a") == {"person": tmp_path / "one" / "a.png"}
    assert files(both, NAMES, "b") == {"person": tmp_path / "two" / "person" / "b.png"}


def test_a_look_up_does_not_touch_the_disk(tmp_path: Path):
    make_folder(tmp_path, {"person/a.png": 0})
    index = MaskIndex([tmp_path], NAMES)
    (tmp_path / "person" / "a.png").unlink()
    assert index.files("a") == {"person": tmp_path / "person" / "a.png"}


def test_links_count_if_they_lead_somewhere(tmp_path: Path):
    make_folder(tmp_path, {"elsewhere/a.png": 0})
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "masks" / "b.png").symlink_to(tmp_path / "nowhere.png")
    assert files([tmp_path / "masks"], NAMES, "a")
    assert not files([tmp_path / "masks"], NAMES, "b")


def test_a_folder_that_cannot_be_opened_is_an_error_and_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"^masks .* cannot be opened \(Permission denied\); check its permissions$"):
        MaskIndex([tmp_path], NAMES)
