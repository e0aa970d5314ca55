"""The command that packs photos: all of them or nothing, and one line for what goes wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.io.lock import locked_folder
from msst_jax.training.data import packing
from msst_jax.training.data.packed import INDEX_FILE, PackedPhotos
from tests.helpers import bucket
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.segmenters import animals, fake_networks, painted
from tests.helpers.training_data import NAMES, make_folder, pack, run_pack
from tests.helpers.training_runs import make_photos


def failing(folder: Path, *flags: str, masked: bool = True) -> None:
    """Packs, which must fail without leaving anything."""
    before = sorted(folder.rglob("*"))
    masks = [f"--masks={folder / 'masks'}", "--regions=person,background"] if masked else []
    places = [f"--photos={folder / 'photos'}", f"--out={folder / 'packed'}", "--quiet"]
    assert run_pack(*places, *masks, *flags) == 2
    assert sorted(folder.rglob("*")) == before


def test_jpeg_and_png_are_stored_as_they_are_and_other_formats_as_png(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.png", "c.webp"):
        save(tmp_path / "photos" / name, noise(20, 24))
    photos = PackedPhotos(pack(tmp_path, masked=False))
    for index, name in enumerate(("a.jpg", "b.png")):
        assert photos.record(index).photo == (tmp_path / "photos" / name).read_bytes()
    assert photos.record(2).photo.startswith(b"\x89PNG")
    with Image.open(tmp_path / "photos" / "c.webp") as webp:
        np.testing.assert_array_equal(photos.read(2), webp.convert("RGB"))


def test_larger_photos_and_their_masks_are_made_smaller_and_no_other(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for name, size in (("a", (40, 60)), ("b", (20, 30))):
        save(tmp_path / "photos" / f"{name}.png", noise(*size))
        save(tmp_path / "masks" / f"{name}.png", stripe(*size, 0, 0.5))
    photos = PackedPhotos(pack(tmp_path, "--size=20"))
    masks = photos.own_masks(NAMES)
    assert masks
    assert [photos.read(index).size for index in range(2)] == [(30, 20)] * 2
    assert [masks.read(index)["person"].size for index in range(2)] == [(30, 20)] * 2
    assert photos.record(0).photo.startswith(b"\xff\xd8\xff")
    assert photos.record(1).photo == (tmp_path / "photos" / "b.png").read_bytes()


def test_damaged_photos_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make_photos(tmp_path, 4)
    (tmp_path / "photos" / "00.png").write_bytes(b"\x89PNG")
    photos = PackedPhotos(pack(tmp_path, "--shards=4"))
    assert photos.index.names == ["01", "02", "03"]
    assert [photos.record(index).name for index in range(3)] == photos.index.names
    assert [*photos.index.shards] == [f"photos-0000{number}.array_record" for number in (1, 2, 3)]
    assert "left out: photo" in caplog.text
    assert json.loads((tmp_path / "packed" / INDEX_FILE).read_text())["count"] == 3


def test_without_masks_the_segmenter_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = fake_networks(monkeypatch)
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos" / "a.png", painted(animals()))
    photos = PackedPhotos(
        pack(tmp_path, "--regions=person,background", "--segmenter=deeplabv3_efficientnet_lite0", masked=False)
    )
    masks = photos.own_masks(NAMES)
    assert masks
    red = np.asarray(photos.read(0))[..., 0] > 200
    assert masks.read(0)["person"].size == photos.read(0).size
    assert np.asarray(masks.read(0)["person"])[red].mean() > 150
    assert loaded == ["deeplabv3_efficientnet_lite0"]


def test_a_mask_that_cannot_be_read_ends_the_call_and_nothing_is_left(tmp_path: Path, capsys):
    make_photos(tmp_path, 5)
    (tmp_path / "masks" / "03.png").write_bytes(b"\x89PNG")
    failing(tmp_path, "--shards=3")
    assert capsys.readouterr().err.startswith(f"msst_jax.training.data.pack: mask {tmp_path}/masks/03.png ")


def test_photos_and_masks_in_a_bucket_are_packed_like_those_of_this_machine(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(bucket.FOLDER, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    packed = pack(make_photos(tmp_path / "b", 3))
    remote = ["--photos=gs://b/photos", "--masks=gs://b/masks", "--regions=person,background"]
    assert run_pack(*remote, f"--out={tmp_path / 'again'}") == 0
    assert PackedPhotos(tmp_path / "again").index == PackedPhotos(packed).index


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    make_photos(tmp_path, 3)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "write_json", interrupt)
    assert run_pack(f"--photos={tmp_path / 'photos'}", f"--out={tmp_path / 'packed'}", "--quiet", "--shards=2") == 130
    assert capsys.readouterr().err == "msst_jax.training.data.pack: interrupted; nothing was written\n"
    assert not (tmp_path / "packed").exists()


def test_what_a_killed_call_left_is_removed(tmp_path: Path):
    make_folder(tmp_path, {"photos/a.png": 0})
    left = [tmp_path / "packed" / name for name in ("photos-00007.array_record", ".photos-00008-abcdefgh.array_record")]
    left[0].parent.mkdir()
    for path in left:
        path.touch()
    pack(tmp_path, masked=False)
    assert sorted(path.name for path in left[0].parent.iterdir()) == [INDEX_FILE, "photos-00000.array_record"]


def test_folders_that_hold_something_or_are_in_use_are_refused(tmp_path: Path, capsys):
    make_photos(tmp_path, 2)
    pack(tmp_path)
    failing(tmp_path)
    assert "packed holds packed photos already; choose another --out, or remove it" in capsys.readouterr().err
    (tmp_path / "packed" / INDEX_FILE).unlink()
    (tmp_path / "packed" / "mine.txt").touch()
    (tmp_path / "packed" / "photos-00000.array_record").unlink()
    failing(tmp_path)
    assert "packed is not empty (mine.txt); choose another --out" in capsys.readouterr().err
    with locked_folder(tmp_path / "packed", ""):
        failing(tmp_path)
    assert "packed is in use by process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shards=3"], "--shards is 3, and there are 2 photos; give at most as many"),
        (["--size=-1"], "--size is -1 and --shards 0; neither can be below 0"),
        (["--size=x"], "invalid int value: 'x'; see python -m msst_jax.training.data.pack --help"),
        (["--regions=cat,background"], "2 of 2 photos have no mask in "),
        (["--regions="], "--masks needs --regions, the names of the masks, such as person,background"),
        (["--photos=nowhere"], "photos nowhere is not a folder"),
        (["--out=gs://bucket/packed"], "--out gs://bucket/packed is a URL"),
    ],
)
def test_bad_flags_end_in_one_line(tmp_path: Path, capsys, flags: list[str], message: str):
    make_photos(tmp_path, 2)
    (tmp_path / "masks").rename(tmp_path / "person")
    (tmp_path / "masks").mkdir()
    (tmp_path / "person").rename(tmp_path / "masks" / "person")
    failing(tmp_path, *flags)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    if "have no mask" in message:
        assert error.endswith("add the masks, or give --allow-missing\n")
