"""Any picture a person may have is read as what it shows, or refused in one line; nothing half-written stays."""

import errno
import re
import struct
import warnings
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageCms

from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_atomically
from msst_jax.io.images import OUTPUT_SUFFIXES, load_image, read_picture, save_image, to_picture
from msst_jax.ops.image import normalize, resize
from tests.helpers.pictures import noise, save


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def bad_pictures(tmp_path: Path) -> Path:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "bomb.png").write_bytes(png_header(30000, 30000))
    (tmp_path / "large.png").write_bytes(png_header(13500, 13500))
    for ending in ("png", "jpg"):
        whole = Path(save(tmp_path / f"whole.{ending}", noise(64, 64)))
        (tmp_path / f"cut.{ending}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
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
def test_a_file_that_is_no_good_picture_is_refused_in_one_line(bad_pictures: Path, name: str, message: str):
    with pytest.raises(UserError, match=f"^photo .*{message}") as error:
        read_picture(bad_pictures / name, "photo")
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
def test_a_picture_too_small_or_too_large_to_work_on_is_refused(tmp_path: Path, width, height, size, message):
    path = save(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))
    with pytest.raises(UserError, match=f"^style .*a.png: .*{message}"):
        load_image(path, size, what="style")


def test_a_long_strip_is_read_as_it_is(tmp_path: Path):
    path = save(tmp_path / "strip.png", np.zeros((20, 20000, 3), np.uint8))
    assert load_image(path).shape == (20, 20000, 3)


@pytest.mark.parametrize(("width", "height"), [(47, 90), (90, 47), (33, 33), (201, 64)])
def test_the_longest_side_becomes_the_size_and_the_shape_is_kept(tmp_path: Path, width: int, height: int):
    path = save(tmp_path / "a.png", noise(height, width))
    loaded = load_image(path, 64)
    assert max(loaded.shape[:2]) == 64
    assert min(loaded.shape[:2]) == round(64 * min(width, height) / max(width, height))
    assert load_image(path, 0).shape == (height, width, 3)
    assert load_image(path, 40, square=True).shape == (40, 40, 3)


def pixels(path: str, **options: str) -> list:
    return np.asarray(read_picture(path, **options)).reshape(-1, 3).tolist()


def test_cmyk_shows_its_colours(tmp_path: Path):
    inks = np.array([[[0, 255, 255, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    path = save(tmp_path / "a.tif", Image.frombytes("CMYK", (3, 1), inks.tobytes()))
    assert pixels(path) == [[255, 0, 0], [0, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, ending: str):
    path = save(tmp_path / f"a.{ending}", np.array([[0, 257, 32896, 65535]], np.uint16))
    assert pixels(path) == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_floats_are_scaled_and_a_missing_value_is_black(tmp_path: Path):
    path = save(tmp_path / "a.tif", np.array([[0, 0.5, 1, np.nan]], np.float32))
    assert pixels(path) == [[0] * 3, [128] * 3, [255] * 3, [0] * 3]


def test_a_transparent_palette_colour_shows_the_backdrop(tmp_path: Path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    path = save(tmp_path / "a.png", picture, transparency=1)
    assert pixels(path) == [[255, 0, 0], [255, 255, 255]]
    assert pixels(path, backdrop="black") == [[255, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_half_transparent_pixels_are_mixed_with_the_backdrop(tmp_path: Path, mode: str):
    values = [0, 128] if mode == "LA" else [0, 0, 0, 128]
    path = save(tmp_path / "a.png", Image.new(mode, (1, 1), tuple(values)))
    assert pixels(path) == [[127] * 3]
    assert pixels(path, backdrop="black") == [[0] * 3]


def test_black_and_white_becomes_rgb(tmp_path: Path):
    assert pixels(save(tmp_path / "a.png", Image.new("1", (1, 1), 1))) == [[255] * 3]


def test_exif_rotation_is_applied(tmp_path: Path):
    turned = noise(20, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown rotated by 90 degrees clockwise
    path = save(tmp_path / "a.png", turned, exif=exif)
    np.testing.assert_array_equal(np.asarray(read_picture(path)), np.rot90(turned, -1))


def test_an_embedded_colour_profile_is_converted(tmp_path: Path):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"  # a device whose first channel is green
    path = save(tmp_path / "a.png", np.array([[[255, 0, 0]]], np.uint8), icc_profile=bytes(profile))
    np.testing.assert_allclose(pixels(path), [[0, 255, 0]], atol=3)


def test_a_broken_colour_profile_does_not_lose_the_picture(tmp_path: Path):
    path = save(tmp_path / "a.png", np.array([[[255, 0, 0]]], np.uint8), icc_profile=b"no profile")
    assert pixels(path) == [[255, 0, 0]]


@pytest.mark.parametrize("size", [(16, 20), (47, 90), (33, 64), (13, 70)])
def test_resize_equals_torch(size: tuple[int, int]):
    image = np.random.default_rng(0).random((2, 33, 40, 3), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False, antialias=True
    )
    np.testing.assert_allclose(resize(jnp.asarray(image), *size), expected.permute(0, 2, 3, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [24, 64])
def test_load_image_equals_torchvision_resize(tmp_path: Path, size: int):
    path = save(tmp_path / "a.png", noise(41, 55))
    resized = torchvision.transforms.Resize((size, size))(Image.open(path))
    expected = torchvision.transforms.functional.pil_to_tensor(resized).permute(1, 2, 0).numpy()
    loaded = load_image(path, size, square=True)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, expected.astype(np.float32) / np.float32(255))


def test_normalize_equals_torchvision():
    image = np.random.default_rng(0).random((5, 7, 3), np.float32)
    transform = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = transform(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(normalize(jnp.asarray(image)), expected, atol=1e-6)


@pytest.mark.parametrize("ending", [*OUTPUT_SUFFIXES, ".PNG"])
def test_every_output_format_can_be_written_and_read_back(tmp_path: Path, ending: str):
    image = np.full((20, 30, 3), 0.5, np.float32)
    path = tmp_path / "new" / f"a{ending}"
    save_image(image, path)
    np.testing.assert_allclose(load_image(path), image, atol=0.02)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_values_outside_the_range_are_clipped_when_written():
    picture = to_picture(np.array([[[-1.0, 0.5, 2.0]]]))
    assert np.asarray(picture).tolist() == [[[0, 128, 255]]]


def test_an_unknown_ending_is_refused_with_the_list_of_known_ones(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown picture ending '\.xyz'; use one of \.png, \.jpg"):
        save_image(np.zeros((2, 2, 3)), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_writer_that_fails_halfway_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException):
    target = tmp_path / "a.png"
    target.write_text("old")

    def write(name: Path) -> None:
        name.write_text("half")
        raise failure

    with pytest.raises((UserError, KeyboardInterrupt)) as error:
        write_atomically(target, write)
    if isinstance(failure, OSError):
        assert re.fullmatch(r"cannot write .*a.png: No space left on device; choose another output", str(error.value))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert target.read_text() == "old"


def test_a_written_file_has_the_usual_permissions(tmp_path: Path):
    write_atomically(tmp_path / "a.txt", lambda name: name.write_text("x") and None)
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("output", [".", "file/out.png", "file/deeper/out.png", "n" * 300 + ".png"])
def test_an_unwritable_place_is_refused_before_the_work(tmp_path: Path, output: str):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write [^\n]*; (choose another output|give a file name)[^\n]*$"):
        check_writable(tmp_path / output)


def test_a_folder_as_output_is_answered_with_a_file_name_of_the_same_kind(tmp_path: Path):
    (tmp_path / "w.safetensors").mkdir()
    for path, example, told in (
        (tmp_path, "out.png", tmp_path / "out.png"),
        (tmp_path, "vgg16.safetensors", tmp_path / "vgg16.safetensors"),
        (tmp_path / "w.safetensors", "out.png", tmp_path / "w.safetensors" / "out.safetensors"),
    ):
        with pytest.raises(UserError, match=rf"it is a folder; give a file name such as {told}$"):
            check_writable(path, example)


def test_checking_an_output_creates_nothing(tmp_path: Path):
    check_writable(tmp_path / "new" / "folder" / "out.png")
    assert not list(tmp_path.iterdir())


def test_reading_a_picture_with_odd_metadata_warns_nobody(tmp_path: Path):
    path = save(tmp_path / "a.gif", Image.new("P", (4, 4)), transparency=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_picture(path)
