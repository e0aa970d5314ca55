"""The orientation is applied whatever else is broken in the EXIF data, in every format that has some."""

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from msst_jax.io.images import read_picture
from tests.helpers import tiff
from tests.helpers.pictures import noise

SUFFIXES = ("jpg", "png", "webp", "tif")
TURNED = noise(20, 40)

Field = tuple[int, int, int, bytes]
"""Tag, type, count, and four bytes: the value or where it lies."""


def exif(*fields: Field, order: str = "<", count: int | None = None) -> bytes:
    """An EXIF block with these fields, which may be nonsense; `count` overrides how many there are said to be."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    body = struct.pack(order + "H", len(fields) if count is None else count)
    for tag, kind, number, value in fields:
        body += struct.pack(order + "HHI", tag, kind, number) + value
    return b"Exif\0\0" + head + body + bytes(4)


def orientation(value: int, order: str = "<", kind: int = 3) -> Field:
    return (
        0x0112,
        kind,
        1,
        struct.pack(order + {1: "B3x", 3: "HH", 4: "I"}[kind], *[value, 0][: 2 if kind == 3 else 1]),
    )


SIDEWAYS = orientation(6)  # the camera was turned: to be shown rotated by 90 degrees clockwise
BEYOND = b"\xf0\xff\xff\x7f"
BROKEN = {
    "whole": exif(SIDEWAYS),
    "big-endian": exif(orientation(6, ">"), order=">"),
    "a byte": exif(orientation(6, kind=1)),
    "a long number": exif(orientation(6, kind=4)),
    "prefix twice": b"Exif\0\0" + exif(SIDEWAYS),
    "text that lies beyond the block": exif((0x010E, 2, 1000, BEYOND), SIDEWAYS),
    "field of an unknown type": exif((0x010F, 99, 1, b"abcd"), SIDEWAYS),
    "a fraction of no parts": exif(SIDEWAYS, (0x011A, 5, 1, BEYOND)),
    "text in place of a number": exif((0x0103, 2, 4, b"\xff\xfe\xfd\0"), SIDEWAYS),
    "number in place of a text": exif((0x010E, 11, 1, b"\0\0\xc0\x7f"), SIDEWAYS),
    "signed numbers in place of positive ones": exif((0x0100, 9, 1, b"\xff\xff\xff\xff"), SIDEWAYS),
    "text in place of a directory": exif(SIDEWAYS, (0x8769, 2, 4, b"abc\0")),
    "directory that lies beyond the block": exif(SIDEWAYS, (0x8769, 4, 1, BEYOND)),
    "camera's notes that lie beyond the block": exif(SIDEWAYS, (0x8825, 4, 1, BEYOND)),
    "more fields than there are": exif(SIDEWAYS, count=400),
    "cut off after the orientation": exif((0x010E, 2, 3, b"ab\0\0"), SIDEWAYS, (0x9286, 7, 9, BEYOND))[:-16],
}


def save_with(path: Path, block: bytes) -> Path:
    """A picture that lies on its side, with an EXIF block put in as it is."""
    image = Image.fromarray(TURNED)
    if path.suffix == ".jpg":
        image.save(path, quality=100, subsampling=0)
        content = path.read_bytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        path.write_bytes(content[:2] + segment + content[2:])
    else:
        image.save(path, exif=block, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def is_upright(path: Path) -> bool:
    pixels = np.asarray(read_picture(path, "photo")).astype(int)
    return pixels.shape == (40, 20, 3) and bool(np.abs(pixels - np.rot90(TURNED, -1)).mean() < 3)


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
@pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN)
def test_the_orientation_is_applied_whatever_else_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, block: bytes
) -> None:
    with caplog.at_level(logging.WARNING):
        assert is_upright(save_with(tmp_path / f"a.{suffix}", block))
    assert caplog.records == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_applied_in_every_format(tmp_path: Path, suffix: str, value: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = value
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(TURNED).save(path, exif=tags, **({"lossless": True} if suffix == "webp" else {}))
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}
    expected = np.rot90(TURNED, turns[value])
    if value in (2, 4):
        expected = expected[:, ::-1]
    elif value in (5, 7):
        expected = expected[::-1]
    pixels = np.asarray(read_picture(path)).astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 12


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0nonsense and more", exif(count=5)[:17]], ids=range(3))
def test_exif_data_without_a_readable_orientation_are_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, block: bytes
) -> None:
    path = save_with(tmp_path / "a.jpg", block)
    with caplog.at_level(logging.WARNING):
        assert read_picture(path, "photo").size == (40, 20)
    empty = block == b"Exif\0\0"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == (
        [] if empty else [f"photo {path}: its EXIF data cannot be read; if the picture lies on its side, turn it first"]
    )


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_leaves_the_picture_as_it_is(tmp_path: Path, value: int) -> None:
    path = save_with(tmp_path / "a.jpg", exif(orientation(value)))
    assert read_picture(path).size == (40, 20)


def test_the_orientation_in_the_text_chunk_of_other_programs_is_applied(tmp_path: Path) -> None:
    block = BROKEN["number in place of a text"]
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
    path = tmp_path / "a.png"
    Image.fromarray(TURNED).save(path, pnginfo=text)
    assert is_upright(path)


def test_the_orientation_of_a_tiff_file_is_applied_whatever_else_is_broken(tmp_path: Path) -> None:
    tags = {
        0x0112: (tiff.SHORT, [6]),
        0x010E: (tiff.FLOAT, [float("nan")]),
        0x011A: (tiff.SHORT, [1, 2, 3]),
        0x8769: (tiff.LONG, [2**31]),
        0x8825: (tiff.FLOAT, [1.0]),
    }
    path = tmp_path / "a.tif"
    tiff.write_tiff(path, TURNED, photometric=tiff.RGB, tags=tags)
    assert is_upright(path)
