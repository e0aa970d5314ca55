"""Every kind of picture file is read with the scale and sense that it states, or refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import features

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from tests.helpers.picture_kinds import KINDS, PictureKind


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
