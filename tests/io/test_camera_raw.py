"""A camera's raw file is refused, whatever its name and maker; a thumbnail is never taken for the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from tests.helpers import tiff
from tests.helpers.pictures import noise, save

RAW = "is a raw file of a camera, which opens as a thumbnail at best; develop it to TIFF, PNG or JPEG"
THUMBNAIL = noise(8, 12)
LARGE = {256: (tiff.LONG, [1200]), 257: (tiff.LONG, [800])}


def thumbnail(path: Path, tags: dict[int, tiff.Field], *pages: dict[int, tiff.Field]) -> Path:
    """A TIFF file whose first page is a thumbnail."""
    reduced = {254: (tiff.LONG, [1])}
    tiff.write_tiff(path, THUMBNAIL, photometric=tiff.RGB, tags={**reduced, **tags}, next_pages=pages)
    return path


def write_raw(path: Path, kind: str) -> None:
    """A file as cameras of a kind write it; of the sensor's pixels, only the tags."""
    if kind == "DNG":
        thumbnail(path, {50706: (tiff.LONG, [0x401])})
    elif kind == "linear raw":
        thumbnail(path, {}, {262: (tiff.SHORT, [34892]), **LARGE})
    elif kind == "color filter array":
        below = {262: (tiff.SHORT, [32803]), **LARGE}
        tiff.write_tiff(path, THUMBNAIL, photometric=tiff.RGB, tags={254: (tiff.LONG, [1])}, below=below)
    elif kind == "TIFF with a signature of its own":
        content = thumbnail(path, {}).read_bytes()
        path.write_bytes(content[:8] + b"CR\2\0" + content[12:])
    else:
        path.write_bytes(kind.encode("latin-1").ljust(64, b"\0"))


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
@pytest.mark.parametrize(
    "kind",
    [
        "DNG",
        "color filter array",
        "linear raw",
        "TIFF with a signature of its own",
        "FUJIFILMCCD-RAW",
        "IIRO",
        "IIU\0",
        "FOVb",
        "\0\0\0\x18ftypcrx ",
    ],
    ids=repr,
)
def test_a_raw_file_is_refused_by_what_is_in_it(tmp_path: Path, kind: str, name: str) -> None:
    write_raw(tmp_path / name, kind)
    with pytest.raises(UserError, match=f"^photo .*{name} {RAW}$"):
        read_picture(tmp_path / name, "photo")


@pytest.mark.parametrize("suffix", ["dng", "nef", "cr2", "cr3", "arw", "orf", "rw2", "raf", "NEF"])
def test_a_raw_file_is_refused_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    tiff.write_tiff(path, THUMBNAIL, photometric=tiff.RGB)
    with pytest.raises(UserError, match=RAW):
        read_picture(path, "photo")


def test_of_the_pages_of_a_tiff_file_the_first_that_is_no_thumbnail_is_read(tmp_path: Path) -> None:
    full = {
        256: (tiff.LONG, [12]),
        257: (tiff.LONG, [8]),
        258: (tiff.SHORT, [8, 8, 8]),
        262: (tiff.SHORT, [tiff.RGB]),
        273: (tiff.LONG, [8]),
        277: (tiff.SHORT, [3]),
        278: (tiff.LONG, [8]),
        279: (tiff.LONG, [THUMBNAIL.size]),
    }
    path = thumbnail(tmp_path / "a.tif", {257: (tiff.LONG, [4]), 278: (tiff.LONG, [4])}, full)
    with Image.open(path) as opened:
        assert opened.size == (12, 4)
    np.testing.assert_array_equal(np.asarray(read_picture(path)), THUMBNAIL)


def test_a_picture_that_hides_below_its_thumbnail_is_refused_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    below = {**LARGE, 262: (tiff.SHORT, [tiff.RGB])}
    tiff.write_tiff(path, THUMBNAIL, photometric=tiff.RGB, tags={254: (tiff.LONG, [1])}, below=below)
    with pytest.raises(
        UserError, match="opens as a thumbnail, and its picture of 1200x800 pixels cannot be read; save"
    ):
        read_picture(path, "photo")


def test_a_picture_with_smaller_versions_below_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tiff.write_tiff(path, THUMBNAIL, photometric=tiff.RGB, next_pages=[{254: (tiff.LONG, [1]), **LARGE}])
    np.testing.assert_array_equal(np.asarray(read_picture(path)), THUMBNAIL)


def test_an_ordinary_picture_of_a_camera_is_read(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010F], tags[0x0110] = "NIKON CORPORATION", "NIKON D90"
    for suffix in ("jpg", "tif"):
        assert read_picture(save(tmp_path / f"a.{suffix}", THUMBNAIL, exif=tags)).size == (12, 8)
