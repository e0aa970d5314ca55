"""Interlaced frames become progressive ones, at their times; progressive frames stay as they are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags

from msst_jax.video.io.reader import open_video
from tests.helpers.logging_state import logged_warnings
from tests.helpers.videos import constant_rate_times, make_video

INTERLACED = {"flags": Flags.interlaced_dct | Flags.interlaced_me | Flags.global_header}
STEP = 4  # pixels from field to field
COUNT = 6


def bar(position: int, height: int = 64, width: int = 128) -> np.ndarray:
    """A bright bar of 32 pixels from a column on."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[:, position : position + 32] = 220
    return image


def woven(number: int) -> np.ndarray:
    """An interlaced frame of a bar that moves, bottom field first: the even rows show it one field later."""
    image = bar(2 * STEP * number)
    image[0::2] = bar(2 * STEP * number + STEP)[0::2]
    return image


def comb(image: np.ndarray) -> float:
    """How much neighboring rows differ, in levels."""
    rows = image[8:-8, :, 0].astype(float)
    return float(np.abs(np.diff(rows, axis=0)).mean())


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "mpeg2video"), ("a.ts", "mpeg2video")])
def test_interlaced_frames_become_progressive_at_their_times(tmp_path: Path, name: str, codec: str, caplog):
    images = [woven(number) for number in range(COUNT)]
    assert comb(images[2]) > 10
    path = make_video(tmp_path / name, images, codec=codec, **INTERLACED)
    frames = list(open_video(path).frames())
    assert [frame.time for frame in frames] == constant_rate_times(COUNT, Fraction(25))
    assert max(comb(frame.image) for frame in frames[1:-1]) < 3
    for number in range(1, COUNT - 1):  # the moment of the first field
        assert np.abs(frames[number].image.astype(int) - bar(2 * STEP * number)).mean() < 6
    assert logged_warnings(caplog) == [f"video {path} is interlaced: it is deinterlaced, one frame for each"]


def test_progressive_frames_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    images = [woven(number) for number in range(COUNT)]  # combs, but the file does not say so
    path = make_video(tmp_path / "a.mkv", images, codec="mpeg2video", options={"qscale": "2"})
    with av.open(str(path)) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert min(map(comb, decoded)) > 10
    assert min(comb(frame.image) for frame in open_video(path).frames()) > 10
    assert not logged_warnings(caplog)


def test_in_mixed_content_only_the_interlaced_frames_change(tmp_path: Path):
    parts = [
        make_video(tmp_path / "1.ts", [bar(8), bar(16)], codec="mpeg2video"),
        make_video(tmp_path / "2.ts", [woven(3), woven(4), woven(5)], codec="mpeg2video", **INTERLACED),
        make_video(tmp_path / "3.ts", [woven(6), woven(7)], codec="mpeg2video"),
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(path)) as file:
        decoded = list(file.decode(video=0))
    frames = list(open_video(path).frames())
    assert len(frames) == len(decoded) == 7
    assert [frame.interlaced_frame for frame in decoded] == [False, False, True, True, True, False, False]
    combs = [comb(frame.image) for frame in frames]
    assert max(combs[:2]) < 3
    assert max(combs[2:5]) < 5
    assert min(combs[5:]) > 10


def test_interlaced_frames_of_another_size_start_the_filter_again(tmp_path: Path):
    parts = [
        make_video(
            tmp_path / f"{height}.ts",
            [bar(8 * number, height) for number in range(3)],
            codec="mpeg2video",
            **INTERLACED,
        )
        for height in (64, 96)
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(path)) as file:
        heights = [frame.height for frame in file.decode(video=0)]
    assert set(heights) == {64, 96}
    frames = list(open_video(path).frames())
    assert [frame.time for frame in frames] == constant_rate_times(len(heights), Fraction(25))
    assert {frame.image.shape for frame in frames} == {(64, 128, 3)}
