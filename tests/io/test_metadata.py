"""What a photo's file says about it is in the stylized picture, but for what no longer holds."""

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from msst_jax.io import metadata
from msst_jax.io.color_profile import srgb_profile
from msst_jax.io.exif import exif_block
from msst_jax.io.images import read_picture, save_picture
from msst_jax.io.metadata import NO_METADATA, read_metadata
from tests.helpers.metadata import BASE, DPI, EXIF, GPS, camera_exif, save_photo
from tests.helpers.pictures import noise

SOURCES = ("jpg", "png", "webp", "tif")
TARGETS = ("jpg", "png", "webp", "tif", "bmp")


def written(path: Path, source: str) -> Image.Image:
    save_picture(Image.fromarray(noise(32, 24)), path, metadata=read_metadata(source))
    with Image.open(path) as opened:
        opened.load()
        return opened


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_describes_the_photo_is_kept_in_every_format_that_has_a_place(
    tmp_path: Path, source: str, target: str
) -> None:
    picture = written(tmp_path / f"out.{target}", save_photo(tmp_path / f"in.{source}"))
    exif = picture.getexif()
    details, location = exif.get_ifd(EXIF), exif.get_ifd(GPS)
    if target == "bmp":
        assert not exif
    else:
        assert [exif[tag] for tag in (BASE.Make, BASE.Model, BASE.Artist)] == ["Camera & Co", "C 1", "Jane Doe"]
        assert exif[BASE.Copyright] == "(c) Jane Doe"
        assert details[BASE.DateTimeOriginal] == "2024:05:06 07:08:09"
        assert float(details[BASE.ExposureTime]) == pytest.approx(0.01)
        assert details[BASE.ISOSpeedRatings] == 400
        assert details[BASE.UserComment] == b"ASCII\0\0\0a walk"
        assert [float(part) for part in location[2]] == [48, 51, 24]
        assert picture.info["icc_profile"] == srgb_profile()
    if "webp" not in (source, target):
        np.testing.assert_allclose([float(side) for side in picture.info["dpi"]], DPI, rtol=1e-3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_no_longer_holds_is_dropped(tmp_path: Path, source: str, target: str) -> None:
    path = tmp_path / f"out.{target}"
    picture = written(path, save_photo(tmp_path / f"in.{source}"))
    exif = picture.getexif()
    details = exif.get_ifd(EXIF)
    assert BASE.Orientation not in exif
    assert not exif.get_ifd(ExifTags.IFD.IFD1)
    assert not {BASE.MakerNote, BASE.ExifImageWidth, BASE.ExifImageHeight} & set(details)
    assert details.get(BASE.ColorSpace, 1) == 1
    assert read_picture(path).size == (24, 32)


def test_the_thumbnail_of_the_photo_is_not_in_the_picture(tmp_path: Path) -> None:
    block = bytearray(camera_exif().tobytes())
    first = 6 + 8
    (count,) = struct.unpack_from(">H", block, first)
    thumbnail = b"\xff\xd8thumbnail\xff\xd9"
    entries = struct.pack(">H", 2) + struct.pack(">HHII", 513, 4, 1, len(block) - 6 + 2 + 24 + 4)
    entries += struct.pack(">HHII", 514, 4, 1, len(thumbnail)) + bytes(4)
    struct.pack_into(">I", block, first + 2 + 12 * count, len(block) - 6)
    source = save_photo(tmp_path / "in.jpg", exif=bytes(block) + entries + thumbnail)
    with Image.open(source) as opened:
        assert opened.getexif().get_ifd(ExifTags.IFD.IFD1)
    picture = written(tmp_path / "out.jpg", source)
    assert b"thumbnail" not in (tmp_path / "out.jpg").read_bytes()
    assert picture.getexif()[BASE.Make] == "Camera & Co"


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif", "gif"])
def test_a_photo_without_metadata_gives_none(tmp_path: Path, source: str) -> None:
    path = tmp_path / f"in.{source}"
    Image.fromarray(noise(8, 8)).save(path)
    assert read_metadata(path) == NO_METADATA


@pytest.mark.parametrize("tag", [BASE.Software, BASE.Artist, EXIF, GPS], ids=["Software", "Artist", "EXIF", "GPS"])
def test_a_field_that_cannot_be_read_or_written_costs_only_itself(tmp_path: Path, tag: int) -> None:
    block = camera_exif().tobytes()
    field = struct.pack(">H", tag)
    place = block.find(field)
    if place < 0:
        tags = camera_exif()
        tags[tag] = "text"
        block = tags.tobytes()
        place = block.find(field)
    broken = block[: place + 2] + struct.pack(">HIf", 11, 1, float("nan")) + block[place + 12 :]
    exif = Image.Exif()
    exif.load(read_metadata(save_photo(tmp_path / "in.jpg", exif=broken)).exif)
    assert exif[BASE.Make] == "Camera & Co"
    assert tag not in exif


def test_metadata_that_cannot_be_read_are_left_out_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.jpg").write_text("no picture")
    with caplog.at_level(logging.WARNING):
        assert read_metadata(tmp_path / "in.jpg") == NO_METADATA
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("the metadata are left out: photo ")


def test_exif_data_too_long_for_jpeg_are_left_out_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tags = camera_exif()
    tags[BASE.ImageDescription] = "a" * 70000
    source = save_photo(tmp_path / "in.png", exif=tags)
    with caplog.at_level(logging.WARNING):
        assert not written(tmp_path / "out.jpg", source).getexif()
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.endswith("the photo's EXIF data are too long for a JPEG file and are left out")
    assert written(tmp_path / "out.png", source).getexif()[BASE.ImageDescription] == "a" * 70000


@pytest.mark.parametrize("dpi", [(1, 1), (0, 0), (float("nan"), 72), (1e9, 1e9)], ids=str)
def test_a_resolution_that_means_nothing_is_dropped(dpi: tuple[float, float]) -> None:
    assert metadata._dpi(dpi) is None
    assert metadata._dpi((72, 72)) == (72, 72)


def test_the_exif_data_of_a_png_may_follow_its_pixels(tmp_path: Path) -> None:
    content = Path(save_photo(tmp_path / "in.png")).read_bytes()
    place = content.index(b"eXIf") - 4
    (length,) = struct.unpack_from(">I", content, place)
    chunk = content[place : place + 12 + length]
    end = content.index(b"IEND") - 4
    moved = content[:place] + content[place + len(chunk) : end] + chunk + content[end:]
    (tmp_path / "in.png").write_bytes(moved)
    assert exif_block(written(tmp_path / "out.png", str(tmp_path / "in.png")))
