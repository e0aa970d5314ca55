"""A transparent photo gives a transparent picture, by optimization and by a model, in every format that holds it."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from msst_jax.pipelines import photo
from msst_jax.transfer.build import build_input_options
from msst_jax.transfer.photo import load_photo
from tests.helpers import png, tiff
from tests.helpers.commands import run_command
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe

SIZE = (24, 32)  # height and width
WAYS = pytest.mark.parametrize("way", ["by optimization", "by a model"])
QUICK = ["--config.steps=3", "--config.scales=(1.0,)", "--config.scale_steps=(1.0,)", "--config.history=4"]
SHALLOW = ["--config.style_layers=('relu1_1',)", "--config.content_layers=('relu2_1',)"]


def edge() -> np.ndarray:
    """An opacity: opaque on the left, soft in the middle, nothing on the right."""
    ramp = np.clip(1.5 - 2 * (np.arange(SIZE[1]) + 0.5) / SIZE[1], 0, 1)
    return np.tile(np.round(255 * ramp).astype(np.uint8), (SIZE[0], 1))


def cut_out(colors: tuple[int, int, int] = (60, 30, 20)) -> np.ndarray:
    """A photo (H, W, 4) of one dark color; what is hidden is white."""
    alpha = edge()
    return np.dstack([np.where(alpha[..., None] > 0, np.uint8(colors), np.uint8(255)), alpha])


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_scene(tmp_path, *SIZE)
    save(tmp_path / "cut.png", np.dstack([noise(*SIZE), edge()]))
    save(tmp_path / "person.png", stripe(*SIZE, 0, 0.5))
    return tmp_path


def arguments(way: str, model: Path, *more: str) -> list[str]:
    if way == "by a model":
        return [f"--model={model}", "--mask=person=person.png", "--config.size=0", *more]
    layers = [*SHALLOW, "--config.style_layer_weights=()", "--config.content_layer_weights=()"]
    return ["--style=background=a.png", "--config.size=0", *QUICK, *layers, *more]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


@WAYS
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_the_picture_is_as_transparent_as_the_photo(scene: Path, model: Path, way: str, suffix: str):
    code, _ = run_command(["cut.png", *arguments(way, model, "-o", f"out.{suffix}")], scene)
    assert code == 0
    picture = read(scene / f"out.{suffix}")
    np.testing.assert_array_equal(picture[..., 3], edge())
    assert picture[..., :3].std() > 0


@WAYS
@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
def test_a_format_without_transparency_is_over_white_and_one_line_says_so(
    scene: Path, model: Path, way: str, suffix: str
):
    code, printed = run_command(["cut.png", *arguments(way, model, "-o", f"out.{suffix}")], scene)
    assert code == 0
    assert printed.count("photo cut.png is transparent, and is taken over white") == 1
    save(scene / "white.png", photo_over_white(scene / "cut.png"))
    code, printed = run_command(["white.png", *arguments(way, model, "-o", f"same.{suffix}")], scene)
    assert "transparent" not in printed
    np.testing.assert_array_equal(read(scene / f"out.{suffix}"), read(scene / f"same.{suffix}"))


def photo_over_white(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")


@WAYS
def test_an_opaque_alpha_channel_changes_nothing(scene: Path, model: Path, way: str):
    save(scene / "opaque.png", np.dstack([noise(*SIZE), np.full(SIZE, 255, np.uint8)]))
    for name, output in (("photo.png", "one.png"), ("opaque.png", "two.png")):
        assert run_command([name, *arguments(way, model, "-o", output)], scene)[0] == 0
    assert read(scene / "two.png").shape == (*SIZE, 3)
    np.testing.assert_array_equal(read(scene / "one.png"), read(scene / "two.png"))


def test_a_region_that_is_kept_has_the_photos_own_pixels_where_they_are_seen(scene: Path, model: Path):
    flags = ["--style=dog=keep", "--mask=dog=left.png", "--config.feather=0", "-o", "out.png"]
    assert run_command(["cut.png", *arguments("by optimization", model, *flags)], scene)[0] == 0
    kept = read(scene / "left.png") > 0
    np.testing.assert_array_equal(read(scene / "out.png")[kept], read(scene / "cut.png")[kept])


@WAYS
def test_the_picture_on_standard_output_is_transparent(scene: Path, model: Path, way: str, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written, flush=lambda: None, isatty=lambda: False))
    assert run_command(["cut.png", *arguments(way, model, "-o", "-")], scene)[0] == 0
    with Image.open(io.BytesIO(written.getvalue())) as picture:
        np.testing.assert_array_equal(np.asarray(picture.getchannel("A")), edge())


@WAYS
def test_of_several_blend_ratios_the_pictures_are_transparent_and_the_strip_is_on_white(
    scene: Path, model: Path, way: str
):
    flags = ["--blend=0,0.3", "-o", "out.png"]
    assert run_command(["cut.png", *arguments(way, model, *flags)], scene)[0] == 0
    for name in ("out_blend0.png", "out_blend0.3.png"):
        np.testing.assert_array_equal(read(scene / name)[..., 3], edge())
    strip = read(scene / "out.png")
    assert strip.shape[2] == 3
    assert (strip[-12] == 255).all(-1).mean() > 0.2  # a row through the pictures


def test_the_sheets_show_the_picture_on_white(scene: Path, model: Path):
    flags = ["--compare", "--blend=0.1", "-o", "out.png"]
    assert run_command(["cut.png", *arguments("by optimization", model, *flags)], scene)[0] == 0
    for name in ("out_inputs.png", "out_comparison.png"):
        page = read(scene / name)
        assert page.shape[2] == 3
        assert (page[-12, -16:] == 255).all()  # the right part of the last picture


def test_a_preview_is_transparent(scene: Path, model: Path, monkeypatch):
    seen = []
    save_picture = photo.save_picture

    def spy(picture: Image.Image, *more: object) -> None:
        seen.append(picture.mode)
        save_picture(picture, *more)

    monkeypatch.setattr(photo, "save_picture", spy)
    flags = ["--preview-every=1", "-o", "out.png"]
    assert run_command(["cut.png", *arguments("by optimization", model, *flags)], scene)[0] == 0
    assert seen[:3] == ["RGBA"] * 3


@WAYS
def test_each_photo_of_a_folder_keeps_its_own_transparency(scene: Path, model: Path, way: str):
    (scene / "in").mkdir()
    save(scene / "in" / "cut.png", cut_out())
    save(scene / "in" / "whole.png", noise(*SIZE))
    assert run_command(["in", *arguments(way, model, "-o", "out")], scene)[0] == 0
    np.testing.assert_array_equal(read(scene / "out" / "cut.png")[..., 3], edge())
    assert read(scene / "out" / "whole.png").shape == (*SIZE, 3)


def test_the_pictures_of_a_sweep_are_transparent_and_its_sheets_are_on_white(scene: Path, model: Path):
    flags = ["--sweep=tv_weight=0,5", "--preview-every=2", "-o", "out.png"]
    assert run_command(["cut.png", *arguments("by optimization", model, *flags)], scene)[0] == 0
    for name in ("out_tv_weight0.png", "out_tv_weight5.png"):
        np.testing.assert_array_equal(read(scene / name)[..., 3], edge())
    for name in ("out.png", "out_inputs.png"):
        page = read(scene / name)
        assert page.shape[2] == 3
        assert (page[-12, -16:] == 255).all()  # the right part of the last picture


def test_the_transparency_is_turned_and_resized_as_the_photo_is(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.png", np.rot90(cut_out()), exif=exif)
    whole = load_photo(build_input_options(quick_config(size=0)), path, keep_alpha=True)
    np.testing.assert_array_equal(whole.alpha, edge())
    for square, (width, height) in ((False, (64, 48)), (True, (64, 64)), (False, (24, 18))):
        options = build_input_options(quick_config(size=max(width, height), square=square))
        loaded = load_photo(options, path, keep_alpha=True)
        wanted = Image.fromarray(edge()).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(loaded.alpha, np.asarray(wanted))
        assert loaded.pixels.shape == (height, width, 3)
        assert loaded.picture.size == (SIZE[1], SIZE[0])


@pytest.mark.parametrize("size", [0, 23, 64])
def test_what_is_optimized_has_no_white_at_the_soft_edge(tmp_path: Path, size: int):
    path = save(tmp_path / "cut.png", cut_out())
    loaded = load_photo(build_input_options(quick_config(size=size)), path, keep_alpha=True)
    wanted = np.float32([60, 30, 20]) / 255
    np.testing.assert_allclose(loaded.pixels, np.broadcast_to(wanted, loaded.pixels.shape), atol=0.05)


def test_a_start_with_transparency_has_no_white_at_the_soft_edge_either(scene: Path, model: Path, monkeypatch):
    seen = []
    stylize = photo.stylize

    def spy(options, vgg, inputs, *more, **named):
        seen.append(inputs.start)
        return stylize(options, vgg, inputs, *more, **named)

    monkeypatch.setattr(photo, "stylize", spy)
    save(scene / "start.png", cut_out())
    for output in ("out.png", "out.jpg"):
        flags = ["--init=start.png", "-o", output]
        assert run_command(["cut.png", *arguments("by optimization", model, *flags)], scene)[0] == 0
    assert seen[0].max() < 0.3
    assert seen[1].max() == 1


def palette() -> Image.Image:
    picture = Image.new("P", SIZE[::-1])
    picture.putpalette([60, 30, 20, 255, 255, 255])
    picture.paste(1, (16, 0, *SIZE[::-1]))
    return picture


def gray() -> Image.Image:
    return Image.fromarray(np.dstack([np.full(SIZE, 60, np.uint8), edge()]), "LA")


def deep(path: Path) -> None:
    """16 bits a sample."""
    png.write_png(path, cut_out().astype(np.uint16) * 257, png.RGB_ALPHA, 16)


HARD = np.tile(np.where(np.arange(SIZE[1]) < 16, 255, 0).astype(np.uint8), (SIZE[0], 1))
HALF = np.where(HARD, 255, 100).astype(np.uint8)
KINDS = {
    "palette, one color, PNG": ("png", lambda path: palette().save(path, transparency=1), HARD),
    "palette, opacities, PNG": ("png", lambda path: palette().save(path, transparency=bytes([255, 100])), HALF),
    "GIF": ("gif", lambda path: palette().save(path, transparency=1), HARD),
    "gray, PNG": ("png", lambda path: gray().save(path), edge()),
    "gray, TIFF": ("tif", lambda path: gray().save(path), edge()),
    "16 bits, PNG": ("png", deep, edge()),
    "RGB, one color, PNG": ("png", lambda path: palette().convert("RGB").save(path, transparency=(255,) * 3), HARD),
    "TIFF": ("tif", lambda path: Image.fromarray(cut_out()).save(path), edge()),
    "lossy WebP": ("webp", lambda path: Image.fromarray(cut_out()).save(path, quality=50), edge()),
    "lossless WebP": ("webp", lambda path: Image.fromarray(cut_out()).save(path, lossless=True), edge()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_transparency_of_every_kind_reaches_the_picture(tmp_path: Path, model: Path, kind: str):
    suffix, write, alpha = KINDS[kind]
    write(tmp_path / f"in.{suffix}")
    save(tmp_path / "person.png", stripe(*SIZE, 0, 0.5))
    assert run_command([f"in.{suffix}", *arguments("by a model", model, "-o", "out.png")], tmp_path)[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "out.png")[..., 3], alpha)


def test_a_tiff_palette_with_an_opacity_channel_is_transparent(tmp_path: Path):
    table = {320: (tiff.SHORT, [0] * 768)}
    samples = np.dstack([np.zeros(SIZE, np.uint8), edge()])
    tiff.write_tiff(tmp_path / "in.tif", samples, photometric=tiff.PALETTE, tags=table, extra_samples=[2])
    loaded = load_photo(build_input_options(quick_config(size=0)), str(tmp_path / "in.tif"), keep_alpha=True)
    np.testing.assert_array_equal(loaded.alpha, edge())


def test_a_photo_that_is_transparent_everywhere_is_stylized_all_the_same(scene: Path, model: Path):
    save(scene / "nothing.png", np.zeros((*SIZE, 4), np.uint8))
    assert run_command(["nothing.png", *arguments("by a model", model, "-o", "out.png")], scene)[0] == 0
    assert not read(scene / "out.png")[..., 3].any()
