"""Packed photos are read like the folder that they come from; what is damaged or does not fit ends in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.training.data.masks import FolderMasks
from msst_jax.training.data.packed import INDEX_FILE, PackedPhotos
from msst_jax.training.data.packed_record import PackedRecord, parse_record
from msst_jax.training.data.photos import find_photos
from msst_jax.training.data.pipeline import PhotoExamples
from tests.helpers.pictures import save
from tests.helpers.training_data import NAMES, SIZE, batches, make_folder, pack
from tests.helpers.training_runs import make_photos


def packed_examples(packed: Path) -> PhotoExamples:
    photos = find_photos([str(packed)])
    masks = photos.own_masks(NAMES)
    assert masks
    return PhotoExamples(photos, masks, range(len(photos)), SIZE)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for field in ("photo", "masks"):
        np.testing.assert_array_equal(one[field], other[field])


def test_batches_of_packed_photos_are_those_of_their_folders_bit_for_bit(tmp_path: Path):
    packed = pack(make_photos(tmp_path, 7), "--shards=3")
    photos = find_photos([str(tmp_path / "photos")])
    folder = PhotoExamples(photos, FolderMasks(photos, [tmp_path / "masks"], NAMES), range(7), SIZE)
    one, other = batches(packed_examples(packed)), batches(folder)
    for _ in range(4):
        assert_same(next(one), next(other))


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_order_of_packed_photos_does_not_depend_on_the_number_of_hosts_or_shards(tmp_path: Path, hosts: int):
    make_photos(tmp_path, 9)
    two, five = (pack(tmp_path, f"--shards={count}", out=str(count)) for count in (2, 5))
    whole = batches(packed_examples(two))
    shares = [batches(packed_examples(five), hosts=hosts, host=host) for host in range(hosts)]
    for _ in range(5):
        parts = [next(share) for share in shares]
        assert_same({field: np.concatenate([part[field] for part in parts]) for field in parts[0]}, next(whole))


def test_resuming_from_packed_photos_is_exact(tmp_path: Path):
    packed = pack(make_photos(tmp_path, 7))
    whole = batches(packed_examples(packed))
    next(whole)
    again = batches(packed_examples(packed), workers=1)
    again.set_state(whole.get_state())
    assert_same(next(again), next(whole))


def test_the_fingerprint_is_that_of_the_records_wherever_they_lie(tmp_path: Path):
    make_photos(tmp_path, 4)
    first, again = (PackedPhotos(pack(tmp_path, "--shards=2", out=out)).fingerprint() for out in "ab")
    assert first == again
    save(tmp_path / "masks" / "02.png", np.zeros((38, 44), np.uint8))
    assert PackedPhotos(pack(tmp_path, "--shards=2", out="c")).fingerprint() != first


def test_photos_without_a_mask_are_told_from_those_with_a_black_one(tmp_path: Path):
    make_photos(tmp_path, 3)
    (tmp_path / "masks" / "01.png").unlink()
    pack(tmp_path, "--allow-missing")
    masks = PackedPhotos(tmp_path / "packed").own_masks(NAMES)
    assert masks
    assert [[*masks.regions(index)] for index in range(3)] == [["person"], [], ["person"]]
    assert masks.read(1) == {}


def test_a_region_without_packed_masks_is_refused_and_an_optional_one_left_out(tmp_path: Path):
    photos = PackedPhotos(pack(make_photos(tmp_path, 3)))
    with pytest.raises(
        UserError, match=r"have masks of person, not of cat; pack them with these --regions, or give --m"
    ):
        photos.own_masks(["cat", *NAMES])
    masks = photos.own_masks(NAMES, ["void"])
    assert masks
    assert [*masks.regions(0)] == ["person"]
    alone = PackedPhotos(pack(tmp_path, out="alone", masked=False))
    assert alone.own_masks(NAMES) is None


def test_packed_photos_cannot_be_combined_with_other_sources(tmp_path: Path):
    packed = pack(make_photos(tmp_path, 3))
    with pytest.raises(UserError, match=r"^packed photos .* cannot be combined with others; give one source$"):
        find_photos([str(tmp_path / "photos"), str(packed)])


def test_what_was_left_out_when_packing_is_said_if_the_config_asks_for_something_else(tmp_path: Path, caplog):
    caplog.set_level("INFO")
    packed = pack(make_photos(tmp_path, 3))
    caplog.clear()
    find_photos([str(packed)])
    assert not caplog.text
    find_photos([str(packed)], "for_tests")
    assert "were left out by no column when they were packed" in caplog.text


def change_index(folder: Path, **changes: Any) -> None:
    path = folder / INDEX_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


SHARD = "photos-00000.array_record"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / INDEX_FILE).write_text("{"), r"packed_photos.json is damaged or cannot be read \("),
        (lambda folder: (folder / INDEX_FILE).write_text('{"version": 1}'), "packed_photos.json is damaged or cannot"),
        (lambda folder: change_index(folder, version=2), "has the version 2, and this program reads 1; pack the"),
        (lambda folder: (folder / SHARD).unlink(), r"array_record cannot be read \(No such file or directory\); pack"),
        (lambda folder: (folder / SHARD).write_bytes(b"cut"), "array_record have 3 bytes and not [0-9]+; pack the pho"),
        (lambda folder: change_index(folder, names=["a"]), "are 3 and not 1; pack the photos again$"),
    ],
)
def test_damaged_packed_photos_are_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Any], message: str):
    packed = pack(make_photos(tmp_path, 3))
    damage(packed)
    with pytest.raises(UserError, match=message) as caught:
        find_photos([str(packed)])
    assert "\n" not in str(caught.value)


def test_a_damaged_record_is_left_out_like_a_damaged_photo(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    packed = pack(make_photos(tmp_path, 3))
    content = bytearray((packed / SHARD).read_bytes())
    photo = (tmp_path / "photos" / "01.png").read_bytes()
    content[content.index(photo) + len(photo) // 2] ^= 1
    (packed / SHARD).write_bytes(content)
    examples = packed_examples(packed)
    assert [examples[index]["photo"].height for index in range(3)] == [36, 38, 38]
    assert "left out: photo 01 of" in caplog.text


def test_a_record_is_read_as_it_was_written_and_others_are_refused():
    record = PackedRecord("ü 1", b"photo", {"person": b"mask", "cat": b""})
    assert parse_record(record.to_bytes()) == record
    for content in (b"", b"\x02\0\0\0{}", b"\x02\0\0\0[]", record.to_bytes()[:-1], record.to_bytes() + b"x"):
        with pytest.raises(ValueError, match=r"."):
            parse_record(content)


def test_without_array_record_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    packed = pack(make_folder(tmp_path, {"photos/a.png": 0}), masked=False)
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(UserError, match=r"^packed photos need array_record \(.*\); run pip install array_record$"):
        find_photos([str(packed)])
