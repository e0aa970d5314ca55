"""Every kind of picture file is read with the scale and sense that it states, or refused in one line."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from tests.helpers import png
from tests.helpers.picture_kinds import KINDS, PictureKind, row_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_every_kind_is_read_as_it_states_or_refused_in_one_line(tmp_path: Path, kind: PictureKind) -> None:
    if kind.suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"a.{kind.suffix}"
    kind.write(path)
    if isinstance(kind.expected, str):
        with pytest.raises(UserError, match=f"^photo .*{kind.expected}") as error:
            read_picture(path, "photo")
        assert "\n" not in str(error.value)
        return
    pixels = np.asarray(read_picture(path, "photo"))[0, : len(kind.expected)]
    expected = [np.broadcast_to(value, 3) for value in kind.expected]
    np.testing.assert_allclose(pixels.astype(int), expected, atol=kind.tolerance)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_a_heic_file_without_its_reader_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(
        UserError, match=r"^photo .*a\.heic is a HEIC picture; install .* `pip install pillow-heif`, or"
    ):
        read_picture(tmp_path / "a.heic", "photo")


def test_a_heic_file_is_read_by_the_reader_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = png.png_bytes(row_of([(1, 2, 3)]), png.RGB, 8)

    def register() -> None:
        monkeypatch.setattr(Image, "ID", [*Image.ID, "HEIF"])
        monkeypatch.setitem(
            Image.OPEN,
            "HEIF",
            (lambda _file, _name: PngImagePlugin.PngImageFile(io.BytesIO(decoded)), lambda head: head[4:8] == b"ftyp"),
        )

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert np.asarray(read_picture(tmp_path / "a.heic")).tolist() == [[[1, 2, 3]]]
