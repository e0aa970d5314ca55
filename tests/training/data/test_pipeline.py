"""Photos to batches: the same everywhere and every time, nothing lost, nothing mixed up."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.training.data.augment import GRAY, CropOptions, center_crop, random_crop, random_masks
from msst_jax.training.data.masks import mask_files
from msst_jax.training.data.photos import FolderPhotos, find_photos
from msst_jax.training.data.pipeline import PhotoExamples, held_out_indices, make_batches
from tests.helpers.pictures import noise, save, stripe

NAMES = ["person", "background"]
SIZE = 8
CROP = CropOptions(SIZE, 0.6)


class Flat:
    """Photos of one grey each: photo i is i everywhere, so that a crop tells where it is from."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (20, 12), (index, index, index))


def examples(count: int, indices: Sequence[int] | None = None, size: int = SIZE) -> PhotoExamples:
    return PhotoExamples(Flat(count), list(range(count)) if indices is None else indices, [], NAMES, size)


def iterator(
    source: PhotoExamples, batch: int = 4, seed: int = 0, hosts: int = 1, host: int = 0, workers: int = 2
) -> Any:
    return make_batches(source, CROP, NAMES, batch=batch, seed=seed, workers=workers, hosts=hosts, host=host)


def grey(batch: dict[str, np.ndarray]) -> list[int]:
    """Which photos of `FlatFunction` are in a batch."""
    return batch["photo"][:, 0, 0, 0].tolist()


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for field in ("photo", "masks"):
        np.testing.assert_array_equal(one[field], other[field])


def test_a_batch_has_the_shapes_and_types_that_the_step_wants_and_masks_of_sum_1():
    batch = next(iterator(examples(10)))
    assert (batch["photo"].shape, batch["photo"].dtype) == ((4, SIZE, SIZE, 3), np.uint8)
    assert (batch["masks"].shape, batch["masks"].dtype) == ((4, SIZE, SIZE, 2), np.float32)
    np.testing.assert_allclose(batch["masks"].sum(-1), 1, atol=1e-6)
    assert batch["masks"].min() >= 0


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_batches_of_all_hosts_together_are_those_of_one(hosts: int):
    whole = iterator(examples(13))
    shares = [iterator(examples(13), hosts=hosts, host=host) for host in range(hosts)]
    for _ in range(7):
        parts = [next(share) for share in shares]
        joined = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
        assert_same(joined, next(whole))


def test_every_photo_comes_once_an_epoch_and_in_another_order_in_the_next():
    batch = iterator(examples(8))
    epochs = [grey(next(batch)) + grey(next(batch)) for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 3
    assert epochs[0] != epochs[1]


def test_another_seed_gives_another_order_and_the_same_seed_the_same_crops():
    first, second, other = (iterator(examples(20), seed=seed) for seed in (1, 1, 2))
    one = next(first)
    assert_same(one, next(second))
    assert grey(one) != grey(next(other))


def test_the_crops_of_a_photo_differ_from_epoch_to_epoch():
    one = iterator(examples(1), batch=1)
    assert not np.array_equal(next(one)["masks"], next(one)["masks"])


@pytest.mark.parametrize("workers", [1, 3])
def test_going_on_is_exact_wherever_it_stopped_and_whatever_was_read_ahead(workers: int):
    whole = iterator(examples(11))
    expected = [next(whole) for _ in range(9)]
    for made in (0, 1, 4):
        first = iterator(examples(11))
        for _ in range(made):
            next(first)
        second = iterator(examples(11), workers=workers)
        second.set_state(first.get_state())
        for batch in expected[made:]:
            assert_same(next(second), batch)


def test_the_position_of_one_host_is_that_of_another():
    """Only the first host writes a checkpoint; all read it."""
    first, second = (iterator(examples(11), hosts=2, host=host) for host in (0, 1))
    for _ in range(3):
        next(first), next(second)
    again = iterator(examples(11), hosts=2, host=1)
    again.set_state(first.get_state())
    assert_same(next(again), next(second))


@pytest.mark.parametrize(("count", "wanted", "expected"), [(1, 4, []), (9, 4, []), (10, 4, [0]), (25, 4, [0, 12])])
def test_at_most_a_tenth_of_the_photos_is_held_out(count: int, wanted: int, expected: list[int]):
    assert held_out_indices(count, wanted) == expected


def test_held_out_photos_are_spread_evenly_and_never_twice():
    assert held_out_indices(2000, 4) == [0, 500, 1000, 1500]


def test_photos_that_are_held_out_are_never_trained_on():
    out = held_out_indices(40, 4)
    inside = [index for index in range(40) if index not in out]
    batch = iterator(examples(40, inside))
    seen = {index for _ in range(30) for index in grey(next(batch))}
    assert seen == set(inside)


class Broken(Flat):
    """Some of them cannot be read."""

    def __init__(self, count: int, bad: set[int]):
        super().__init__(count)
        self.bad = bad

    def read(self, index: int) -> Image.Image:
        if index in self.bad:
            raise UserError(f"photo {index}.png is damaged")
        return super().read(index)


def test_damaged_photos_are_replaced_by_the_next_and_named_once(caplog: pytest.LogCaptureFixture):
    source = PhotoExamples(Broken(8, {2, 3}), range(8), [], NAMES, SIZE)
    batch = iterator(source)
    seen = [index for _ in range(6) for index in grey(next(batch))]
    assert set(seen) == {0, 1, 4, 5, 6, 7}
    assert source.damaged.keys() == {2, 3}
    for index in (2, 3):
        assert f"left out: photo {index}.png is damaged" in caplog.text


def test_what_stands_in_for_a_damaged_photo_does_not_depend_on_when_it_is_found():
    source = PhotoExamples(Broken(8, {2, 3}), range(8), [], NAMES, SIZE)
    first = [grey({"photo": np.asarray(source[position]["photo"])[None]}) for position in range(8)]
    again = [grey({"photo": np.asarray(source[position]["photo"])[None]}) for position in reversed(range(8))]
    assert first == again[::-1]
    assert first == [[0], [1], [4], [4], [4], [5], [6], [7]]


def test_if_no_photo_can_be_read_that_is_said():
    source = PhotoExamples(Broken(3, {0, 1, 2}), range(3), [], NAMES, SIZE)
    with pytest.raises(UserError, match=r"^none of the 3 photos can be read; give a folder of pictures that can$"):
        source[1]


def test_photos_smaller_than_the_crop_are_enlarged_and_counted():
    source = examples(3, size=16)
    crop = random_crop(source[0], np.random.default_rng(0), CropOptions(16, 0.6), NAMES)
    assert crop["photo"].shape == (16, 16, 3)
    assert source.small == {0}
    assert not examples(3, size=12).small


def make_folder(folder: Path, files: dict[str, int]) -> Path:
    for name, seed in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / name, noise(20, 24, seed))
    return folder


def test_the_photos_of_folders_come_in_the_order_of_their_names_sub_folders_too(tmp_path: Path):
    make_folder(tmp_path / "one", {"b.jpg": 1, "a.PNG": 2, "deep/c.webp": 3})
    (tmp_path / "one" / "notes.txt").write_text("no picture")
    make_folder(tmp_path / "two", {"a2.png": 4})
    photos = find_photos([str(tmp_path / "one"), str(tmp_path / "two")])
    assert [photos.name(index) for index in range(len(photos))] == ["a", "b", "c", "a2"]
    np.testing.assert_array_equal(photos.read(3), noise(20, 24, 4))


def test_the_size_of_a_photo_that_cannot_be_reached_is_no_error(tmp_path: Path):
    save(tmp_path / "a.png", noise(20, 24))
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    sizes = find_photos([str(tmp_path)]).sizes()
    assert sizes == {str(tmp_path / "a.png"): (tmp_path / "a.png").stat().st_size, str(tmp_path / "b.png"): -1}


def test_folders_that_are_not_there_or_have_no_pictures_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"photos .*/nope is no folder; give a folder of pictures, or tfds:NAME$"):
        find_photos([str(tmp_path / "nope")])
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"has no pictures \(.jpg, .*\); give a folder that has some$"):
        find_photos([str(tmp_path)])


def test_masks_are_found_by_region_or_flat_if_there_is_but_one_to_find(tmp_path: Path):
    make_folder(tmp_path, {"person/a.png": 0, "cat/a.png": 0, "b.png": 0})
    assert mask_files([tmp_path], NAMES, "a") == {"person": tmp_path / "person" / "a.png"}
    assert mask_files([tmp_path], NAMES, "b") == {"person": tmp_path / "b.png"}
    assert mask_files([tmp_path], ["person", "cat", "background"], "b") == {}
    assert mask_files([tmp_path], ["person", "cat", "background"], "a").keys() == {"person", "cat"}
    assert mask_files([tmp_path / "nope", tmp_path], NAMES, "c") == {}


def test_the_mask_is_cut_and_mirrored_as_its_photo_is(tmp_path: Path):
    photo = np.repeat(stripe(24, 40, 0.3, 0.6)[..., None], 3, -1)
    save(tmp_path / "a.png", photo)
    (tmp_path / "masks").mkdir()
    save(tmp_path / "masks" / "a.png", photo[..., 0])
    source = PhotoExamples(FolderPhotos([tmp_path / "a.png"]), [0], [tmp_path / "masks"], NAMES, SIZE)
    for seed in range(8):
        crop = random_crop(source[0], np.random.default_rng(seed), CROP, NAMES)
        np.testing.assert_allclose(crop["masks"][..., 0], crop["photo"][..., 0] / 255, atol=1 / 255)
    middle = center_crop(source[0], CropOptions(24, 1.0), NAMES)
    np.testing.assert_array_equal(middle["photo"], photo[:, 8:32])


def test_a_crop_larger_than_the_photo_has_all_of_it_and_knows_nothing_beyond():
    photo = Image.fromarray(np.full((20, 30, 3), 200, np.uint8))
    whole = {"photo": photo, "masks": {"person": Image.new("L", photo.size, 255)}}
    places = set()
    for seed in range(20):
        crop = random_crop(whole, np.random.default_rng(seed), CropOptions(60, 3.0, 3.0), NAMES)
        inside = (crop["photo"] == 200).all(-1)
        assert inside.sum() == 20 * 30
        known = crop["masks"].sum(-1)
        np.testing.assert_array_equal(known, crop["masks"][..., 0])
        np.testing.assert_array_equal(known == 1, inside)
        np.testing.assert_array_equal(known == 0, (crop["photo"] == GRAY).all(-1))
        places.add(tuple(np.argwhere(inside)[0]))
    assert len(places) > 10


def test_a_crop_longer_than_one_side_only_stays_within_the_other():
    photo = Image.fromarray(np.full((20, 60, 3), 200, np.uint8))
    for seed in range(10):
        crop = random_crop(
            {"photo": photo, "masks": {}}, np.random.default_rng(seed), CropOptions(40, 2.0, 2.0), ["background"]
        )
        np.testing.assert_array_equal(crop["masks"][..., 0].sum(0), np.full(40, 20))


def test_colours_change_by_no_more_than_asked_and_masks_do_not():
    whole = {"photo": Image.new("RGB", (20, 20), (120, 100, 90)), "masks": {"person": Image.new("L", (20, 20), 255)}}
    seen = [random_crop(whole, np.random.default_rng(seed), CropOptions(8, 1.0, 1.0, 0.3), NAMES) for seed in range(30)]
    colours = np.array([crop["photo"][0, 0] for crop in seen], float)
    assert all((crop["photo"] == crop["photo"][0, 0]).all() and (crop["masks"][..., 0] == 1).all() for crop in seen)
    brightness = colours.mean(1) / np.mean([120, 100, 90])
    assert 0.68 < brightness.min() < 0.85
    assert 1.15 < brightness.max() < 1.32
    spread = colours.max(1) - colours.min(1)
    assert len(np.unique(spread)) > 10


def test_photos_that_an_index_marks_are_left_out(tmp_path: Path):
    make_folder(tmp_path / "in" / "images", {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3})
    assert len(find_photos([str(tmp_path / "in" / "images")], "for_tests")) == 3  # no index: none is left out
    index = tmp_path / "in" / "index.csv"
    index.write_text("file,source,for_tests\na,x,0\nb,y,1\n")
    photos = find_photos([str(tmp_path / "in" / "images")], "for_tests")
    assert [photos.name(number) for number in range(len(photos))] == ["a", "c"]
    assert len(find_photos([str(tmp_path / "in" / "images")])) == 3
    with pytest.raises(UserError, match=r"index.csv has no column test; mend it, or give --config.leave_out="):
        find_photos([str(tmp_path / "in" / "images")], "test")
    index.write_text("file,for_tests\na,0\nb.jpg,1\n")
    assert len(find_photos([str(tmp_path / "in" / "images")], "for_tests")) == 2
    index.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"index.csv cannot be read \(.*\); mend it, or give --config.leave_out="):
        find_photos([str(tmp_path / "in" / "images")], "for_tests")
    index.write_text("file,for_tests\na,1\nb,1\nc,1\n")
    with pytest.raises(UserError, match=r"all 3 photos of .* are left out as for_tests"):
        find_photos([str(tmp_path / "in" / "images")], "for_tests")


def test_a_mask_of_another_size_is_stretched_and_regions_that_overlap_share(tmp_path: Path):
    save(tmp_path / "a.png", noise(20, 20))
    for name in ("person", "cat"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        save(tmp_path / "masks" / name / "a.png", np.full((7, 9), 255, np.uint8))
    names = ["background", "person", "cat"]
    source = PhotoExamples(FolderPhotos([tmp_path / "a.png"]), [0], [tmp_path / "masks"], names, SIZE)
    masks = center_crop(source[0], CROP, names)["masks"]
    np.testing.assert_allclose(masks, np.broadcast_to([0, 0.5, 0.5], masks.shape), atol=1e-6)


def test_a_photo_without_masks_gets_random_regions_and_one_style_gets_all():
    rng = np.random.default_rng(0)
    masks = random_masks((40, 30), ["background", "person", "cat"], rng)
    assert masks.keys() == {"person", "cat"}
    assert all(0 < np.asarray(mask).mean() < 255 for mask in masks.values())
    empty = {"photo": Image.new("RGB", (20, 20)), "masks": {}}
    only = center_crop(empty, CROP, ["background"])
    np.testing.assert_array_equal(only["masks"], np.ones((SIZE, SIZE, 1)))
    nobody = random_crop(empty, rng, CROP._replace(random_regions=False), ["background", "person"])
    np.testing.assert_array_equal(nobody["masks"], np.broadcast_to([1.0, 0.0], (SIZE, SIZE, 2)))


def fake_tfds(monkeypatch: pytest.MonkeyPatch, source: Any) -> None:
    module = ModuleType("tensorflow_datasets")
    module.data_source = source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


def test_a_tfds_data_source_is_read_without_tensorflow(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def source(name: str, split: str) -> list[dict[str, np.ndarray]]:
        asked.append((name, split))
        return [{"image": noise(12, 14, 0)}, {"image": noise(9, 9, 1)[..., :1]}]

    fake_tfds(monkeypatch, source)
    photos = find_photos(["tfds:coco/2017:validation"])
    assert find_photos(["tfds:flowers"])
    assert asked == [("coco/2017", "validation"), ("flowers", "train")]
    assert len(photos) == 2
    assert photos.name(1) == "00000001"
    assert photos.sizes() == {"tfds:coco/2017:validation": 2}
    np.testing.assert_array_equal(photos.read(0), noise(12, 14, 0))
    assert photos.read(1).mode == "RGB"
    assert grey(next(iterator(PhotoExamples(photos, [0, 1], [], NAMES, SIZE))))


def test_a_tfds_dataset_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch):
    fake_tfds(monkeypatch, lambda name, split: (_ for _ in ()).throw(ValueError("Failed to find nope\nmore")))
    with pytest.raises(
        UserError, match=r"^tfds:nope cannot be read \(Failed to find nope\); prepare it as array_record"
    ):
        find_photos(["tfds:nope"])
    with pytest.raises(UserError, match="cannot be joined with others"):
        find_photos(["tfds:nope", "elsewhere"])
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"^tfds:nope needs the extra tfds .*pip install -e '.\[tfds\]'$"):
        find_photos(["tfds:nope"])
