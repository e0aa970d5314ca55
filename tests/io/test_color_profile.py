"""The color profile of every color mode is applied, with and without transparency; one that cannot be is said."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from msst_jax.io.color_profile import srgb_profile
from msst_jax.io.images import read_picture
from tests.helpers import profiles

PROFILES = {
    "linear gray": profiles.linear_gray(),
    "green first": profiles.green_first(),
    "black paper": profiles.black_paper(),
    "CIELAB": profiles.lab(),
    "sRGB": srgb_profile(),
    "broken": b"no profile",
}
FOREIGN, BROKEN = "is for {}, not for its pixels, and is ignored", "is broken and is ignored"
SPACES = {"linear gray": "GRAY", "black paper": "CMYK", "CIELAB": "Lab", "green first": "RGB", "sRGB": "RGB"}

GRAY, RED, WHITE = (128, 128, 128), (255, 0, 0), (255, 255, 255)
# What is seen of the numbers of a picture: without a profile, and with each of those that are for such numbers.
SEEN: dict[str, dict[str, tuple[int, int, int]]] = {
    "gray 128": {"": GRAY, "linear gray": (188, 188, 188), "green first": GRAY, "sRGB": GRAY},
    "red": {"": RED, "green first": (0, 255, 0), "sRGB": RED},
    "gray 128 as RGB": {"": GRAY, "linear gray": (188, 188, 188), "green first": GRAY, "sRGB": GRAY},
    "no ink": {"": WHITE, "black paper": (0, 0, 0)},
    "white of CIELAB": {"": WHITE, "CIELAB": WHITE},
}


def palette(color: tuple[int, int, int], mode: str = "P") -> Image.Image:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, *color])
    if mode == "PA":
        picture = picture.convert("PA")
        picture.putalpha(Image.new("L", (8, 8), 0))
        assert picture.mode == "PA"
    return picture


class Picture(NamedTuple):
    numbers: str
    make: Callable[[], Image.Image]
    suffix: str
    options: dict[str, Any] = {}  # noqa: RUF012
    transparent: bool = False


def plain(numbers: str, mode: str, color: Any, suffix: str, **more: Any) -> Picture:
    return Picture(numbers, lambda: Image.new(mode, (8, 8), color), suffix, **more)


PICTURES = {
    "1-bit PNG": plain("white", "1", 1, "png"),
    "gray PNG": plain("gray 128", "L", 128, "png"),
    "gray JPEG": plain("gray 128", "L", 128, "jpg"),
    "gray TIFF": plain("gray 128", "L", 128, "tif"),
    "gray WebP": plain("gray 128 as RGB", "L", 128, "webp", options={"lossless": True}),
    "16-bit gray PNG": plain("gray 128", "I;16", 128 * 257, "png"),
    "16-bit gray TIFF": plain("gray 128", "I;16", 128 * 257, "tif"),
    "float TIFF": plain("gray 128", "F", 128 / 255, "tif"),
    "gray PNG, transparent color": plain("gray 128", "L", 128, "png", options={"transparency": 128}, transparent=True),
    "16-bit gray PNG, transparent color": plain(
        "gray 128", "I;16", 32896, "png", options={"transparency": 32896}, transparent=True
    ),
    "opaque gray PNG with alpha": plain("gray 128", "LA", (128, 255), "png"),
    "gray PNG with alpha": plain("gray 128", "LA", (128, 0), "png", transparent=True),
    "gray TIFF with alpha": plain("gray 128", "LA", (128, 0), "tif", transparent=True),
    "RGB PNG": plain("red", "RGB", RED, "png"),
    "RGB JPEG": plain("red", "RGB", RED, "jpg", options={"quality": 100, "subsampling": 0}),
    "RGB TIFF": plain("red", "RGB", RED, "tif"),
    "RGB WebP": plain("red", "RGB", RED, "webp", options={"lossless": True}),
    "RGB PNG, transparent color": plain("red", "RGB", RED, "png", options={"transparency": RED}, transparent=True),
    "opaque RGB PNG with alpha": plain("red", "RGBA", (*RED, 255), "png"),
    "RGB PNG with alpha": plain("red", "RGBA", (*RED, 0), "png", transparent=True),
    "RGB TIFF with alpha": plain("red", "RGBA", (*RED, 0), "tif", transparent=True),
    "palette PNG": Picture("red", lambda: palette(RED), "png"),
    "palette TIFF": Picture("red", lambda: palette(RED), "tif"),
    "gray palette PNG": Picture("gray 128 as RGB", lambda: palette(GRAY), "png"),
    "palette PNG, transparent color": Picture("red", lambda: palette(RED), "png", {"transparency": 1}, True),
    "palette PNG with opacities": Picture("red", lambda: palette(RED), "png", {"transparency": b"\x80\0"}, True),
    "palette TIFF with alpha": Picture("red", lambda: palette(RED, "PA"), "tif", {}, True),
    "YCbCr TIFF": plain("red", "YCbCr", (76, 85, 255), "tif"),
    "CMYK TIFF": plain("no ink", "CMYK", 0, "tif"),
    "CMYK JPEG": plain("no ink", "CMYK", 0, "jpg"),
    "CIELAB TIFF": plain("white of CIELAB", "LAB", (255, 128, 128), "tif"),
}
SEEN["white"] = dict.fromkeys(("", "linear gray", "green first", "sRGB"), WHITE)


@pytest.mark.parametrize("profile", ["", *PROFILES], ids=lambda name: name or "none")
@pytest.mark.parametrize("name", PICTURES)
def test_a_profile_for_the_pixels_is_applied_and_any_other_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, profile: str
) -> None:
    picture = PICTURES[name]
    path = tmp_path / f"a.{picture.suffix}"
    options = {**picture.options, **({"icc_profile": PROFILES[profile]} if profile else {})}
    picture.make().save(path, **options)
    with caplog.at_level(logging.WARNING):
        found = read_picture(path, "photo")
        behind = read_picture(path, "photo", backdrop="blue") if picture.transparent else None
    seen = SEEN[picture.numbers]
    expected = seen.get(profile, seen[""])
    if behind is not None:
        assert np.asarray(found).min() == 255
        assert np.asarray(behind)[0, 0].tolist() == [0, 0, 255]
    else:
        np.testing.assert_allclose(np.asarray(found)[0, 0].astype(int), expected, atol=4)
    lines = {record.getMessage() for record in caplog.records}
    problem = BROKEN if profile == "broken" else FOREIGN.format(SPACES.get(profile))
    assert lines == (set() if profile in seen else {f"photo {path}: its color profile {problem}"})


def test_half_transparent_colors_are_converted_before_they_are_blended(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("LA", (8, 8), (128, 128)).save(path, icc_profile=PROFILES["linear gray"])
    pixels = np.asarray(read_picture(path, backdrop="black"))
    np.testing.assert_allclose(pixels.astype(int), 94, atol=2)


def test_the_profile_written_is_the_same_at_any_time_and_changes_nothing(tmp_path: Path) -> None:
    assert srgb_profile() == srgb_profile()
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(colors).save(path, icc_profile=srgb_profile())
    np.testing.assert_allclose(np.asarray(read_picture(path)).astype(int), colors, atol=1)
