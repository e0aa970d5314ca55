"""The forms of masks that people have are read as gray with white inside, or refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from msst_jax.errors import UserError
from msst_jax.models import voc
from msst_jax.regions.mask_files import NotAMaskError, mask_series, read_mask
from tests.helpers.pictures import noise, save, stripe

SIZE = (24, 16)
LEFT = stripe(SIZE[1], SIZE[0], 0, 0.25)
SOFT = np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))
LABELS = np.repeat(np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 3), 8, 0), 8, 1)
VOC_PALETTE = np.asarray(voc.COLORS, np.uint8)
SPREAD = LABELS * np.uint8(51)
RING = np.clip(np.hypot(*np.mgrid[-32:32, -48:48]), 8, 40)  # (64, 96): how far from the middle, flat inside and outside
SMOOTH = np.round((40 - RING) * 255 / 32).astype(np.uint8)  # white in the middle, and a wide soft edge
CITYSCAPES = np.array([(128, 64, 128), (220, 20, 60), (70, 130, 180), (107, 142, 35), (0, 0, 142), (0, 0, 0)], np.uint8)


def gray(values: np.ndarray, mode: str = "L") -> Image.Image:
    return Image.fromarray(values).convert(mode)


def with_alpha(picture: Image.Image, opacity: np.ndarray) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(Image.fromarray(opacity))
    return picture


def palette(indices: np.ndarray, colors: np.ndarray) -> Image.Image:
    picture = Image.new("P", indices.shape[::-1])
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(colors.ravel().tolist())
    return picture


def photo() -> Image.Image:
    return Image.fromarray(noise(SIZE[1], SIZE[0]))


def gray_profile() -> bytes:
    """A gray profile has no maker in Pillow; readers that take masks for numbers never look into it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def brushed() -> Image.Image:
    """A copy of the photo with a red brush over the region."""
    values = np.asarray(photo()).copy()
    values[LEFT > 0] = (255, 0, 0)
    return Image.fromarray(values)


def corner_cut(values: np.ndarray) -> np.ndarray:
    """Opaque, but for a transparent corner at the right."""
    opacity = np.full_like(values, 255)
    opacity[:4, -4:] = 0
    return opacity


def black_and(color: tuple[int, int, int]) -> np.ndarray:
    return np.where(LEFT[..., None] > 0, np.array(color, np.uint8), np.uint8(0))


INSIDE = (LEFT > 0).astype(np.uint8)
UNDERSTOOD: dict[str, tuple[str, Callable[[], Image.Image], str]] = {
    # id: (ending, picture, what is said)
    "gray": ("png", lambda: gray(LEFT), ""),
    "gray-jpeg": ("jpg", lambda: gray(LEFT), ""),
    "gray-bmp": ("bmp", lambda: gray(LEFT), ""),
    "gray-gif": ("gif", lambda: gray(LEFT), ""),
    "gray-webp": ("webp", lambda: gray(LEFT), ""),
    "gray-and-opaque": ("png", lambda: gray(LEFT, "LA"), ""),
    "1-bit": ("png", lambda: gray(LEFT, "1"), ""),
    "1-bit-tiff": ("tif", lambda: gray(LEFT, "1"), ""),
    "16-bit": ("png", lambda: Image.fromarray(LEFT.astype(np.uint16) * 257), ""),
    "16-bit-big-endian": ("tif", lambda: Image.fromarray((LEFT.astype(np.uint16) * 257).astype(">u2")), ""),
    "16-bit-up-to-255": ("png", lambda: Image.fromarray(LEFT.astype(np.uint16)), "has values up to 255 in more than 8"),
    "16-bit-0-and-1": ("png", lambda: Image.fromarray(INSIDE.astype(np.uint16)), "has the values 0 and 1: 1 is inside"),
    "32-bit-integers": ("tif", lambda: Image.fromarray(LEFT.astype(np.int32) * 257), ""),
    "float-0-to-1": ("tif", lambda: Image.fromarray(LEFT.astype(np.float32) / 255), ""),
    "float-0-to-255": ("tif", lambda: Image.fromarray(LEFT.astype(np.float32)), "has values up to 255 in more than 8"),
    "float-not-a-number": ("tif", lambda: Image.fromarray(np.where(LEFT > 0, 1, np.nan).astype(np.float32)), ""),
    "0-and-1": ("png", lambda: gray(INSIDE), "has the values 0 and 1: 1 is inside"),
    "0-and-1-palette-of-grays": ("png", lambda: palette(INSIDE, np.repeat(np.arange(256), 3)), "(1, 1, 1) is inside"),
    "rgb": ("png", lambda: gray(LEFT, "RGB"), ""),
    "rgb-jpeg": ("jpg", lambda: gray(LEFT, "RGB"), ""),
    "rgb-and-opaque": ("png", lambda: gray(LEFT, "RGBA"), ""),
    "cmyk": ("tif", lambda: gray(LEFT, "CMYK"), ""),
    "palette-of-grays": ("png", lambda: palette(LEFT, np.repeat(np.arange(256), 3)), ""),
    "palette-of-black-and-white": ("png", lambda: palette(INSIDE, np.array([[0] * 3, [255] * 3])), ""),
    "palette-of-black-and-a-color": ("png", lambda: palette(INSIDE, VOC_PALETTE), "(128, 0, 0) is inside"),
    "palette-of-black-and-a-gray": ("png", lambda: palette(INSIDE * 7, VOC_PALETTE), "(128, 128, 128) is inside"),
    "black-and-a-color": ("png", lambda: Image.fromarray(black_and((192, 128, 128))), "(192, 128, 128) is inside"),
    "cut-out": ("png", lambda: with_alpha(photo(), LEFT), "is a cut-out: what is opaque is inside"),
    "cut-out-webp": ("webp", lambda: with_alpha(photo(), LEFT), "is a cut-out"),
    "cut-out-tiff": ("tif", lambda: with_alpha(photo(), LEFT), "is a cut-out"),
    "cut-out-in-gray": ("png", lambda: with_alpha(gray(SOFT), LEFT), "is a cut-out"),
    "white-on-transparent": ("png", lambda: with_alpha(gray(np.full_like(LEFT, 255)), LEFT), ""),
    "black-on-transparent": ("png", lambda: with_alpha(gray(np.zeros_like(LEFT)), LEFT), "is a cut-out"),
    "black-and-white-with-a-transparent-corner": ("png", lambda: with_alpha(gray(LEFT), corner_cut(LEFT)), ""),
}
REFUSED: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "photo": (photo, "is a picture in color; give it in gray, white inside the region"),
    "brush-on-the-photo": (brushed, "is a picture in color"),
    "opaque-photo-with-alpha": (lambda: photo().convert("RGBA"), "is a picture in color"),
    "labels": (lambda: gray(LABELS), "is a map of labels (values 0, 1, 2, 3, ...)"),
    "labels-with-255-unlabeled": (
        lambda: gray(np.where(LABELS == 5, np.uint8(255), LABELS)),
        "is a map of labels (values",
    ),
    "one-label-and-255-unlabeled": (
        lambda: gray(np.where(LABELS == 5, 255, 15 * INSIDE)),
        "is a map of labels (values 0, 15, 255)",
    ),
    "one-label": (lambda: gray(15 * INSIDE), "is dark: its brightest value is 15 of 255; paint the region white"),
    "labels-spread-over-the-grays": (lambda: gray(SPREAD), "is a map of labels (flat shades 0, 51, 102, 153, ...)"),
    "four-spread-labels": (
        lambda: gray(np.repeat(np.array([[0, 85, 170, 255]], np.uint8), 6, 1).repeat(16, 0)),
        "is a map of labels (flat shades 0, 85, 170, 255), and a mask shows one region",
    ),
    "spread-labels-without-black": (
        lambda: gray(SPREAD // 2 + np.uint8(120)),
        "is a map of labels (flat shades",
    ),
    "spread-labels-in-rgb": (lambda: gray(SPREAD, "RGB"), "is a map of labels (flat shades 0, 51, 102, 153, ...)"),
    "spread-labels-in-a-palette": (
        lambda: palette(LABELS, np.repeat(np.arange(6) * 51, 3)),
        "is a map of labels (flat shades 0, 51, 102, 153, ...)",
    ),
    "spread-labels-in-16-bits": (
        lambda: Image.fromarray(SPREAD.astype(np.uint16) * 257),
        "is a map of labels (flat shades 0, 51, 102, 153, ...)",
    ),
    "spread-labels-with-specks": (
        lambda: gray(np.where(np.arange(24) == 9, np.uint8(33), SPREAD)),
        "is a map of labels (flat shades 0, 51, 102, 153, ...)",
    ),
    "labels-in-16-bits": (
        lambda: Image.fromarray(LABELS.astype(np.uint16)),
        "is a map of labels (values 0, 1, 2, 3, ...)",
    ),
    "labels-in-a-palette": (lambda: palette(LABELS, VOC_PALETTE), "is a map of 6 labels in color"),
    "voc-colors": (lambda: Image.fromarray(VOC_PALETTE[LABELS]), "is a map of 6 labels in color"),
    "cityscapes-colors": (lambda: Image.fromarray(CITYSCAPES[LABELS]), "is a map of 6 labels in color"),
    "black": (lambda: gray(0 * LEFT), "is black: nothing is inside; paint the region white"),
    "dark": (lambda: gray(LEFT // 3), "is dark: its brightest value is 85 of 255; paint the region white"),
    "transparent": (lambda: with_alpha(photo(), 0 * LEFT), "is black: nothing is inside"),
}


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_a_mask_of_this_form_is_its_region(tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str):
    caplog.set_level("INFO")
    ending, picture, said = UNDERSTOOD[form]
    path = save(tmp_path / f"m.{ending}", picture())
    found = read_mask(path, SIZE, SIZE)
    np.testing.assert_allclose(found, LEFT / 255, atol=0.06 if ending in ("jpg", "webp") else 0)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(said)
    assert not said or (lines[0].startswith(f"mask {path} ") and said in lines[0])


@pytest.mark.parametrize("form", REFUSED)
def test_a_picture_of_this_form_is_no_mask_and_the_error_tells_what_is(tmp_path: Path, form: str):
    picture, message = REFUSED[form]
    path = save(tmp_path / "m.png", picture())
    with pytest.raises(UserError) as error:
        read_mask(path, SIZE, SIZE)
    assert str(error.value).startswith(f"mask {path} {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "P"])
@pytest.mark.parametrize("profile", ["broken", "valid"])
def test_a_profile_does_not_change_the_numbers_of_a_mask(tmp_path: Path, mode: str, profile: str):
    picture = gray(SOFT, mode)
    content = b"no profile" if profile == "broken" else gray_profile()
    path = save(tmp_path / "m.png", picture, icc_profile=content)
    np.testing.assert_array_equal(read_mask(path, SIZE, SIZE), SOFT / np.float32(255))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "F"])
def test_soft_edges_stay_soft(tmp_path: Path, mode: str):
    made = {
        "I;16": lambda: Image.fromarray(SOFT.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(SOFT / np.float32(255)),
    }
    path = save(tmp_path / "m.tif", made.get(mode, lambda: gray(SOFT, mode))())
    np.testing.assert_allclose(read_mask(path, SIZE, SIZE), SOFT / 255, atol=1e-6)


def blurred(mask: np.ndarray, radius: float) -> Image.Image:
    return gray(mask).filter(ImageFilter.GaussianBlur(radius))


def recoded(picture: Image.Image, **options: int) -> Image.Image:
    """After a detour through JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return Image.open(stream)


BLOCKS = np.kron(np.random.default_rng(3).random((5, 7)) < 0.4, np.ones((13, 13))).astype(np.uint8) * 255
DISC = (SMOOTH > 127).astype(np.uint8) * 255
SOFT_MASKS: dict[str, Callable[[], Image.Image]] = {
    "anti-aliased": lambda: gray(np.kron(DISC, np.ones((3, 3), np.uint8))).resize((120, 80), Image.Resampling.BOX),
    "shrunk": lambda: gray(BLOCKS).resize((67, 49), Image.Resampling.BILINEAR),
    "enlarged": lambda: gray(BLOCKS).resize((301, 200), Image.Resampling.BICUBIC),
    "feathered": lambda: blurred(BLOCKS, 3),
    "feathered-wide": lambda: gray(SMOOTH),
    "feathered-in-4-bits": lambda: gray(SMOOTH // 17 * 17).resize((960, 640), Image.Resampling.NEAREST),
    "feathered-in-16-levels-of-a-palette": lambda: blurred(DISC, 6).quantize(16).convert("L"),
    "jpeg": lambda: recoded(gray(BLOCKS), quality=60),
    "jpeg-of-low-quality": lambda: recoded(gray(DISC), quality=10),
    "jpeg-of-a-feathered-one": lambda: recoded(blurred(BLOCKS, 2), quality=80),
    "two-strengths-with-soft-edges": lambda: blurred(np.maximum(BLOCKS, DISC[:1, :1] + np.uint8(120)), 1.5),
    "hard-with-a-line-between": lambda: gray(np.where(np.arange(96) == 48, np.uint8(128), DISC)),
}


@pytest.mark.parametrize("form", SOFT_MASKS)
def test_a_region_with_soft_edges_is_no_map_of_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str):
    """Without loss, so that the ending of the file does not give it away."""
    picture = SOFT_MASKS[form]()
    path = save(tmp_path / "m.png", picture)
    caplog.set_level("INFO")
    np.testing.assert_array_equal(read_mask(path, picture.size, picture.size), np.asarray(picture) / np.float32(255))
    assert not caplog.text


@pytest.mark.parametrize(("shade", "said"), [(128, "50%"), (64, "25%"), (200, "78%")])
def test_one_flat_shade_between_black_and_white_is_partly_inside_and_said(
    tmp_path: Path, caplog, shade: int, said: str
):
    caplog.set_level("INFO")
    values = np.repeat(np.array([[0, shade, 255]], np.uint8), 8, 1).repeat(16, 0)
    path = save(tmp_path / "m.png", gray(values))
    np.testing.assert_array_equal(read_mask(path, SIZE, SIZE), values / np.float32(255))
    message = f"mask {path} has a flat shade of {shade} of 255: it is read as {said} inside"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_a_region_that_fades_in_over_many_frames_is_no_map_of_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    frames = [(LEFT // 255) * np.uint8(strength) for strength in (60, 120, 180, 255)]
    files = series(tmp_path, *frames)
    read = mask_series(files, "masks")
    for file, wanted in zip(files, frames, strict=True):
        np.testing.assert_array_equal(read(file), wanted)
    assert not caplog.text


def test_soft_edges_of_a_cut_out_stay_soft(tmp_path: Path):
    path = save(tmp_path / "m.png", with_alpha(photo(), SOFT))
    np.testing.assert_allclose(read_mask(path, SIZE, SIZE), SOFT / 255, atol=1e-6)


def test_a_mask_is_turned_as_its_orientation_says(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "m.png", gray(np.rot90(LEFT)), exif=exif)
    np.testing.assert_array_equal(read_mask(path, SIZE, SIZE), LEFT / np.float32(255))


def test_the_overlay_of_regions_only_is_refused_and_the_mask_beside_it_named(tmp_path: Path):
    record = '{"shares": {"person": 0.2}, "masks": {"person": "m_person.png"}, "versions": {"msst_jax": "0.1.0"}}'
    (tmp_path / "m.json").write_text(record)
    overlay, mask = save(tmp_path / "m.png", photo()), save(tmp_path / "m_person.png", gray(LEFT))
    with pytest.raises(NotAMaskError, match=rf"^mask {overlay} is the overlay that --regions-only .*; give {mask} in "):
        read_mask(overlay, SIZE, SIZE)
    assert read_mask(mask, SIZE, SIZE).max() == 1
    (tmp_path / "m.json").unlink()  # the overlay alone, moved elsewhere
    with pytest.raises(NotAMaskError, match=r"is a picture in color; .*of --regions-only: NAME_person.png"):
        read_mask(overlay, SIZE, SIZE)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (LEFT // 255 * 180, "has no white: its brightest value is 180 of 255, so nothing is wholly inside"),
        (np.full_like(LEFT, 255), "is white everywhere: its region is the whole photo"),
        (LEFT, ""),
    ],
    ids=["half-white", "white", "black-and-white"],
)
def test_a_mask_without_white_or_black_is_read_and_said(tmp_path: Path, caplog, values: np.ndarray, said: str):
    path = save(tmp_path / "m.png", gray(values))
    np.testing.assert_array_equal(read_mask(path, SIZE, SIZE), values / np.float32(255))
    assert [record.getMessage() for record in caplog.records] == ([f"mask {path} {said}"] if said else [])


def series(folder: Path, *masks: np.ndarray | Image.Image, ending: str = "png") -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [Path(save(folder / f"{index}.{ending}", mask)) for index, mask in enumerate(masks)]


def test_masks_of_a_folder_are_scaled_as_one_so_that_an_empty_one_stays_empty(tmp_path: Path):
    """A matte in which nobody is seen has pixels of 1, which by themselves would look like 0 and 1."""
    mattes = (SOFT, INSIDE, 0 * LEFT)
    files = series(tmp_path, *mattes)
    read = mask_series(files, "masks")
    for file, wanted in zip(files, mattes, strict=True):
        np.testing.assert_array_equal(read(file), wanted)
    deep = series(tmp_path / "deep", *(Image.fromarray(mask.astype(np.uint16) * 257) for mask in (LEFT, INSIDE // 255)))
    np.testing.assert_array_equal(mask_series(deep, "masks")(deep[0]), LEFT)


def test_masks_of_0_and_1_of_a_folder_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    files = series(tmp_path, 0 * INSIDE, INSIDE, INSIDE)
    read = mask_series(files, "mask masks/")
    np.testing.assert_array_equal(read(files[2]), LEFT)
    assert [record.getMessage() for record in caplog.records] == ["mask masks/ has the values 0 and 1: 1 is inside"]


@pytest.mark.parametrize(
    "bad", [LABELS, SPREAD, VOC_PALETTE[LABELS]], ids=["labels", "spread-labels", "labels-in-color"]
)
def test_a_folder_of_label_maps_is_refused_at_once(tmp_path: Path, bad: np.ndarray):
    with pytest.raises(NotAMaskError, match=r"^masks? \S+ is a map of (6 )?labels"):
        mask_series(series(tmp_path, bad, bad), "masks here")


def test_unreadable_masks_of_a_folder_say_nothing_about_the_others(tmp_path: Path):
    files = series(tmp_path, INSIDE, INSIDE)
    files[0].write_bytes(b"damaged")
    read = mask_series(files, "masks")
    np.testing.assert_array_equal(read(files[1]), LEFT)
    with pytest.raises(UserError, match="is not a picture"):
        read(files[0])


def test_a_mask_of_another_aspect_ratio_is_stretched_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "m.png", stripe(10, 20, 0, 0.5))
    found = read_mask(path, (40, 30), (40, 30))
    assert found.shape == (30, 40)
    assert found[:, :18].min() == 1
    assert found[:, 22:].max() == 0
    assert "m.png is 20x10, the photo 40x30: the mask is stretched to fit" in caplog.text


def test_a_mask_of_the_photos_size_is_resized_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "m.png", stripe(10, 20, 0, 0.5))
    assert read_mask(path, (20, 10), (40, 20)).shape == (20, 40)
    assert not caplog.text


@pytest.mark.parametrize("size", [(20, 13), (60, 40), (150, 100), (20, 14)])
def test_a_mask_of_the_photos_aspect_ratio_is_resized_without_a_warning(tmp_path: Path, caplog, size: tuple[int, int]):
    """Such as those of --regions-only: at the size of the photo, at the working size, or as exported by an editor."""
    path = save(tmp_path / "m.png", stripe(size[1], size[0], 0, 0.5))
    assert read_mask(path, (300, 200), (40, 27)).shape == (27, 40)
    assert not caplog.text
    square = save(tmp_path / "square.png", stripe(32, 32, 0, 0.5))
    read_mask(square, (300, 200), (32, 32))
    assert not caplog.text
    read_mask(square, (300, 200), (40, 27))
    assert "square.png is 32x32, the photo 300x200" in caplog.text


@pytest.mark.parametrize("level", [0, 100])
def test_a_black_or_dark_mask_is_rejected(tmp_path: Path, level: int):
    path = save(tmp_path / "m.png", np.full((8, 8), level, np.uint8))
    found = {0: "is black: nothing is inside", 100: "is dark: its brightest value is 100 of 255"}[level]
    with pytest.raises(UserError, match=rf"m.png {found}; paint the region white"):
        read_mask(path, (8, 8), (8, 8))


def test_transparent_pixels_of_a_mask_are_outside_the_region(tmp_path: Path):
    picture = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    picture.putpixel((1, 0), (255, 255, 255, 0))
    assert read_mask(save(tmp_path / "m.png", picture), (2, 1), (2, 1)).tolist() == [[1, 0]]


def test_a_gray_photo_as_mask_is_read_but_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ramp = np.tile(np.linspace(10, 240, 64).astype(np.uint8), (48, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    read_mask(tmp_path / "a.png", (64, 48), (64, 48))
    assert "is neither black nor white in" in caplog.text
