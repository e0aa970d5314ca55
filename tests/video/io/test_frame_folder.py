"""A folder of images is a video: its numbers are times, what cannot be read is said, and the rest keeps its time."""

from fractions import Fraction
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.video.io.color import BLACK
from msst_jax.video.io.reader import open_video
from tests.helpers.logging_state import logged_warnings
from tests.helpers.pictures import flat, save
from tests.helpers.videos import NTSC, read_images, read_times

GREEN = (20, 200, 60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (10, 2, 1, 9):
        save(folder / f"frame_{number}.png", flat((number, 100, 200), 47, 33))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_numbers_of_a_folder_of_images_are_their_times(folder: Path, caplog):
    video = open_video(folder, NTSC)
    frames = list(video.frames())
    assert [frame.image[0, 0, 0] for frame in frames] == [1, 2, 9, 10]
    assert [frame.time for frame in frames] == [number / NTSC for number in (0, 1, 8, 9)]
    assert [frame.duration for frame in frames] == [number / NTSC for number in (1, 7, 1, 1)]
    assert [frame.name for frame in frames] == ["frame_1", "frame_2", "frame_9", "frame_10"]
    info = video.info
    assert (info.width, info.height, info.rate, info.frames, info.duration) == (33, 47, NTSC, 4, 10 / NTSC)
    (warning,) = logged_warnings(caplog)
    assert warning == f"{folder}: 6 of 10 frames are missing (the first: 3); those before are shown longer"
    assert open_video(folder).info.rate == 25


def test_an_unreadable_image_is_skipped_with_a_warning_and_the_others_keep_their_times(folder: Path, caplog):
    (folder / "frame_2.png").write_bytes(b"no image")
    assert read_times(folder) == [Fraction(0), Fraction(8, 25), Fraction(9, 25)]
    assert logged_warnings(caplog)[1:] == [f"{folder}: 3 of 4 frames could be read; skipped frame_2.png"]


def test_transparent_images_of_a_folder_are_composited_over_white(tmp_path: Path):
    save(tmp_path / "1.png", flat((*GREEN, 0)))
    (frame,) = open_video(tmp_path).frames()
    assert frame.image.min() == 255
    assert frame.alpha is not None
    assert frame.alpha.max() == 0
    assert next(open_video(tmp_path, backdrop=BLACK).frames()).image.max() == 0


def test_an_unusable_folder_or_rate_is_a_one_line_error(folder: Path):
    for rate in (0, -25, 10**6):
        with pytest.raises(
            UserError, match=rf"^the frame rate of .* is {rate}.0; give a number above 0 and at most 1000$"
        ):
            open_video(folder, Fraction(rate))
    save(folder / "frame_3.png", flat(GREEN))
    with pytest.raises(
        UserError, match=r"^frame .*frame_3.png is 64x48, but the first frame is 33x47; make them one size$"
    ):
        read_images(folder)
    for file in folder.glob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^none of the 5 images in .* can be read; give other copies$"):
        open_video(folder)
