"""Quality and subsampling do what they say where a format has them, and are refused where it has none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from msst_jax.errors import UserError
from msst_jax.io.images import save_picture
from msst_jax.io.write_options import OUTPUT_SUFFIXES, WriteOptions, check_output_format
from tests.helpers.pictures import noise

PICTURE = Image.fromarray(noise(64, 64))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_a_lower_quality_makes_a_smaller_file(tmp_path: Path, suffix: str) -> None:
    sizes = []
    for quality in (1, 50, 100):
        path = tmp_path / f"{quality}{suffix}"
        save_picture(PICTURE, path, WriteOptions(quality=quality))
        sizes.append(path.stat().st_size)
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("subsampling", "code"), [(None, 0), ("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_a_jpeg_has_the_subsampling_asked_for_and_none_by_default(
    tmp_path: Path, subsampling: str | None, code: int
) -> None:
    save_picture(PICTURE, tmp_path / "a.jpg", WriteOptions(subsampling=subsampling))
    with Image.open(tmp_path / "a.jpg") as opened:
        assert JpegImagePlugin.get_sampling(opened) == code


def test_thin_lines_of_color_survive_the_default_jpeg(tmp_path: Path) -> None:
    colors = np.zeros((16, 16, 3), np.uint8)
    colors[:, ::2, 0], colors[:, 1::2, 2] = 255, 255
    save_picture(Image.fromarray(colors), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as opened:
        assert np.abs(np.asarray(opened).astype(int) - colors).mean() < 8


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_a_format_without_quality_or_subsampling_says_so(suffix: str) -> None:
    path = Path(f"a{suffix}")
    check_output_format(path)
    for options, having, message in (
        (WriteOptions(quality=80), (".jpg", ".jpeg", ".webp"), "the quality is 80, but .* has none; leave it out, or"),
        (WriteOptions(subsampling="4:2:0"), (".jpg", ".jpeg"), "the subsampling is 4:2:0, but .* has none; leave it"),
    ):
        if suffix in having:
            check_output_format(path, options)
        else:
            with pytest.raises(UserError, match=message):
                check_output_format(path, options)


@pytest.mark.parametrize("quality", [0, -1, 101])
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_quality_out_of_range_is_refused(suffix: str, quality: int) -> None:
    with pytest.raises(UserError, match=rf"the quality is {quality}; give 1 to 100 \(best\) for {suffix}"):
        check_output_format(Path(f"a{suffix}"), WriteOptions(quality=quality))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_formats_without_loss_are_written_as_pillow_does(tmp_path: Path, suffix: str) -> None:
    ours, plain = tmp_path / f"ours{suffix}", tmp_path / f"plain{suffix}"
    save_picture(PICTURE, ours)
    PICTURE.save(plain)
    assert ours.read_bytes() == plain.read_bytes()
