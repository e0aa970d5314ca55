"""Whole PNG files are read whatever the size of their texts and profile; the limits of Pillow stay as they are."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from msst_jax.io.png_chunks import readable_png
from tests.helpers import png, profiles
from tests.helpers.picture_kinds import row_of
from tests.helpers.pictures import noise

MEGABYTE = 1 << 20
LONG = b"a" * (2 * MEGABYTE)
RED = row_of([(255, 0, 0)])
COMPRESSED = zlib.compress(LONG)
CHUNKS = {
    "compressed text of 2 MB": [(b"zTXt", b"note\0\0" + COMPRESSED)],
    "international compressed text of 2 MB": [(b"iTXt", b"note\0\1\0en\0note\0" + COMPRESSED)],
    "plain texts of 66 MB": [(b"tEXt", b"note%d\0" % index + LONG) for index in range(33)],
    "international plain texts of 66 MB": [(b"iTXt", b"note%d\0\0\0\0\0" % index + LONG) for index in range(33)],
    "compressed texts of 70 MB": [(b"zTXt", b"n%d\0\0" % i + zlib.compress(b"a" * MEGABYTE)) for i in range(70)],
    "broken compressed text": [(b"zTXt", b"note\0\0" + b"nonsense")],
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_texts_of_any_size_do_not_keep_a_picture_from_being_read(tmp_path: Path, chunks: list) -> None:
    limits = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    path = tmp_path / "a.png"
    png.write_png(path, RED, png.RGB, 8, before=chunks)
    assert np.asarray(read_picture(path)).tolist() == [[[255, 0, 0]]]
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_a_color_profile_of_over_a_megabyte_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    profile = profiles.green_first() + bytes(2 * MEGABYTE)
    png.write_png(path, RED, png.RGB, 8, before=[(b"iCCP", b"large\0\0" + zlib.compress(profile))])
    np.testing.assert_allclose(np.asarray(read_picture(path))[0, 0].astype(int), [0, 255, 0], atol=4)


def test_the_orientation_beside_a_large_text_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    tags = Image.Exif()
    tags[0x0112] = 6
    chunks = [*CHUNKS["compressed text of 2 MB"], (b"eXIf", tags.tobytes()[6:])]
    png.write_png(path, row_of([(255, 0, 0), (0, 0, 0)]), png.RGB, 8, before=chunks)
    assert read_picture(path).size == (1, 2)


def test_a_file_without_large_texts_is_not_copied() -> None:
    stream = io.BytesIO(png.png_bytes(RED, png.RGB, 8, before=[(b"tEXt", b"note\0short")]))
    assert readable_png(stream) == (stream, None)


def test_a_file_that_is_cut_off_after_a_large_text_is_still_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = png.png_bytes(noise(64, 64), png.RGB, 8, before=CHUNKS["compressed text of 2 MB"])
    path.write_bytes(content[:-4000])
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        read_picture(path, "photo")
