"""Images of any format and color mode are read as 8-bit sRGB or rejected in one line, and written atomically."""

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import load_image, read_picture, save_image, to_picture
from msst_jax.io.write_options import OUTPUT_SUFFIXES
from reference.torchvision_compat import torchvision
from tests.helpers.pictures import noise, save
from tests.helpers.png import png_chunk, png_header


def huge_png(side: int) -> bytes:
    """A PNG file that says it has side x side pixels, and has none."""
    return png_header(side, side) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


@pytest.fixture
def bad_images(tmp_path: Path) -> Path:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "bomb.png").write_bytes(huge_png(30000))
    (tmp_path / "large.png").write_bytes(huge_png(13500))
    for suffix in ("png", "jpg"):
        whole = Path(save(tmp_path / f"whole.{suffix}", noise(64, 64)))
        (tmp_path / f"cut.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "does not exist; check the name"),
        (".", "is a folder; give a picture file"),
        ("empty.png", "is empty; give a PNG"),
        ("text.png", "is not a picture that Pillow can read; give"),
        ("cut.png", r"is damaged or cannot be read \(.*truncated.*\); give another copy"),
        ("cut.jpg", r"is damaged or cannot be read \(.*truncated.*\); give another copy"),
        ("bomb.png", "has more than 178 megapixels; make it smaller"),
        ("large.png", "has more than 178 megapixels; make it smaller"),
        ("n" * 300 + ".png", r"cannot be read \(.*name too long.*\); give another copy"),
    ],
)
def test_an_unreadable_file_is_rejected_in_one_line(bad_images: Path, name: str, message: str):
    with pytest.raises(UserError, match=f"^photo .*{message}") as error:
        read_picture(bad_images / name, "photo")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("width", "height", "size", "message"),
    [
        (1, 1, 32, "1x1 is too small"),
        (2000, 20, 512, "becomes 512x5 pixels; every side must have at least 16"),
        (20, 2000, 512, "becomes 5x512 pixels"),
        (15, 40, 0, "becomes 15x40 pixels"),
        (40, 30, 10**8, "lower the size"),
    ],
)
def test_an_image_too_small_or_too_large_is_rejected(tmp_path: Path, width, height, size, message):
    path = save(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))
    with pytest.raises(UserError, match=f"^style .*a.png: .*{message}"):
        load_image(path, size, what="style")


def test_a_long_strip_is_read_unresized(tmp_path: Path):
    path = save(tmp_path / "strip.png", np.zeros((20, 20000, 3), np.uint8))
    assert load_image(path).shape == (20, 20000, 3)


@pytest.mark.parametrize(("width", "height"), [(47, 90), (90, 47), (33, 33), (201, 64)])
def test_size_is_the_longest_side_and_the_aspect_ratio_is_kept(tmp_path: Path, width: int, height: int):
    path = save(tmp_path / "a.png", noise(height, width))
    loaded = load_image(path, 64)
    assert max(loaded.shape[:2]) == 64
    assert min(loaded.shape[:2]) == round(64 * min(width, height) / max(width, height))
    assert load_image(path, 0).shape == (height, width, 3)
    assert load_image(path, 40, square=True).shape == (40, 40, 3)


def pixels(path: str, **options: str) -> list:
    return np.asarray(read_picture(path, **options)).reshape(-1, 3).tolist()


def test_cmyk_is_converted_to_rgb(tmp_path: Path):
    inks = np.array([[[0, 255, 255, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    path = save(tmp_path / "a.tif", Image.frombytes("CMYK", (3, 1), inks.tobytes()))
    assert pixels(path) == [[255, 0, 0], [0, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path: Path, suffix: str):
    path = save(tmp_path / f"a.{suffix}", np.array([[0, 257, 32896, 65535]], np.uint16))
    assert pixels(path) == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_floats_are_scaled_and_nan_is_black(tmp_path: Path):
    path = save(tmp_path / "a.tif", np.array([[0, 0.5, 1, np.nan]], np.float32))
    assert pixels(path) == [[0] * 3, [128] * 3, [255] * 3, [0] * 3]


def test_a_transparent_palette_color_shows_the_backdrop(tmp_path: Path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    path = save(tmp_path / "a.png", picture, transparency=1)
    assert pixels(path) == [[255, 0, 0], [255, 255, 255]]
    assert pixels(path, backdrop="black") == [[255, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_semitransparent_pixels_are_blended_with_the_backdrop(tmp_path: Path, mode: str):
    values = [0, 128] if mode == "LA" else [0, 0, 0, 128]
    path = save(tmp_path / "a.png", Image.new(mode, (1, 1), tuple(values)))
    assert pixels(path) == [[127] * 3]
    assert pixels(path, backdrop="black") == [[0] * 3]


def test_a_1_bit_image_becomes_rgb(tmp_path: Path):
    assert pixels(save(tmp_path / "a.png", Image.new("1", (1, 1), 1))) == [[255] * 3]


def test_odd_metadata_raises_no_warning(tmp_path: Path):
    path = save(tmp_path / "a.gif", Image.new("P", (4, 4)), transparency=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_picture(path)


@pytest.mark.parametrize("size", [24, 64])
def test_load_image_equals_torchvision_resize(tmp_path: Path, size: int):
    path = save(tmp_path / "a.png", noise(41, 55))
    resized = torchvision.transforms.Resize((size, size))(Image.open(path))
    expected = torchvision.transforms.functional.pil_to_tensor(resized).permute(1, 2, 0).numpy()
    loaded = load_image(path, size, square=True)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("suffix", [*OUTPUT_SUFFIXES, ".PNG"])
def test_every_output_format_is_written_and_read_back(tmp_path: Path, suffix: str):
    image = np.full((20, 30, 3), 0.5, np.float32)
    path = tmp_path / "new" / f"a{suffix}"
    save_image(image, path)
    np.testing.assert_allclose(load_image(path), image, atol=0.02)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_values_outside_the_range_are_clipped_when_written():
    picture = to_picture(np.array([[[-1.0, 0.5, 2.0]]]))
    assert np.asarray(picture).tolist() == [[[0, 128, 255]]]


def test_an_unknown_suffix_is_rejected_with_the_list_of_known_ones(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown picture ending '\.xyz'; use one of \.png, \.jpg"):
        save_image(np.zeros((2, 2, 3)), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())
