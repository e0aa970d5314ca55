"""Masks of a video are read by the rules of mask files, whether they come as a folder or as a video."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.regions.mask_files import NotAMaskError
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import VideoInfo
from msst_jax.video.mask_sources import open_masks
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.videos import make_video, moving

SIZE = (64, 48)
COUNT = 3


@pytest.fixture
def video(tmp_path: Path) -> VideoInfo:
    return open_video(make_video(tmp_path / "a.mp4", moving(COUNT))).info


def stripes() -> list[np.ndarray]:
    return [stripe(48, 64, 0.1 * index, 0.1 * index + 0.4) for index in range(COUNT)]


def folder(path: Path, pictures: Sequence[np.ndarray | Image.Image]) -> Path:
    path.mkdir()
    for index, picture in enumerate(pictures):
        save(path / f"{index}.png", picture)
    return path


def masks_of(source: Path, video: VideoInfo) -> np.ndarray:
    read = open_masks({"person": str(source)}, video, SIZE)
    return np.stack([read(index)[..., 0] for index in range(COUNT)])


def cut_out(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([noise(48, 64), mask]))


FORMS = {
    "gray": lambda mask: mask,
    "0-and-1": lambda mask: mask // 255,
    "16-bit": lambda mask: Image.fromarray(mask.astype(np.uint16) * 257),
    "cut-outs": cut_out,
    "black-and-a-color": lambda mask: np.where(mask[..., None] > 0, np.uint8((128, 0, 0)), np.uint8(0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_masks_of_this_form_is_read(tmp_path: Path, video: VideoInfo, form: str):
    source = folder(tmp_path / "masks", [FORMS[form](mask) for mask in stripes()])
    np.testing.assert_array_equal(masks_of(source, video), stripes())


def test_a_frame_without_anybody_is_empty(tmp_path: Path, video: VideoInfo, caplog: pytest.LogCaptureFixture):
    masks = [stripes()[0], 0 * stripes()[1], stripes()[2]]
    np.testing.assert_array_equal(masks_of(folder(tmp_path / "masks", masks), video), masks)
    assert not caplog.text


@pytest.mark.parametrize(
    "picture", [noise(48, 64), np.repeat(np.arange(4, dtype=np.uint8), 16)[None].repeat(48, 0)], ids=["photo", "labels"]
)
def test_a_folder_of_no_masks_is_refused_before_any_frame(tmp_path: Path, video: VideoInfo, picture: np.ndarray):
    with pytest.raises(NotAMaskError, match=r"is a (picture in color|map of labels \(values 0, 1, 2, 3\))"):
        open_masks({"person": str(folder(tmp_path / "masks", [picture] * COUNT))}, video, SIZE)


def test_a_mask_video_in_color_is_refused_before_any_frame(tmp_path: Path, video: VideoInfo):
    source = make_video(tmp_path / "b.mp4", [noise(48, 64)] * COUNT)
    with pytest.raises(NotAMaskError, match=rf"^--mask person={source} is in color at 0.00 s; give it in gray"):
        open_masks({"person": str(source)}, video, SIZE)


def test_a_mask_video_that_turns_to_color_is_refused_there(tmp_path: Path, video: VideoInfo):
    images = [np.stack([stripes()[0]] * 3, -1), noise(48, 64), noise(48, 64)]
    source = make_video(tmp_path / "b.mp4", images, form="yuv444p")
    with pytest.raises(NotAMaskError, match=r"is in color at 0.04 s"):
        masks_of(source, video)


def test_masks_that_are_dark_throughout_are_said(tmp_path: Path, video: VideoInfo, caplog: pytest.LogCaptureFixture):
    source = make_video(tmp_path / "b.mp4", [np.full((48, 64, 3), 40, np.uint8)] * COUNT)
    assert masks_of(source, video).max() < 128
    assert len(caplog.records) == 1
    assert f"--mask person={source} is dark in every frame (up to 4" in caplog.text
