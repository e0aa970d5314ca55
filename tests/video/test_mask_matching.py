"""A mask never reaches another frame than its own, whatever is missing among the frames or the masks."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Part, VideoSource, number_frames
from msst_jax.video.mask_sources import open_masks
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.videos import make_video, moving

WIDTH, HEIGHT = 64, 32


def make_folder(folder: Path, names: Sequence[object], masks: bool = False) -> Path:
    """Pictures of these names; mask i of N is white in the i-th of N columns."""
    folder.mkdir()
    for index, name in enumerate(names):
        picture = column(index, len(names)) if masks else noise(HEIGHT, WIDTH, index)
        save(folder / f"{name}.png", picture)
    return folder


def column(index: int, count: int) -> np.ndarray:
    return stripe(HEIGHT, WIDTH, index / count, (index + 1) / count)


def masks_of(video: VideoSource, masks: Path, count: int) -> list[int]:
    """Which of `count` masks each frame of a video has."""
    read = open_masks({"person": str(masks)}, video.info, (WIDTH, HEIGHT))
    frames = number_frames(video.frames(), video.info.rate, video.info.first_number)
    weights = np.stack([column(index, count) for index in range(count)]).reshape(count, -1) / 255.0
    return [int(np.argmax(weights @ read(number)[..., 0].ravel())) for number, _ in frames]


class Case(NamedTuple):
    """Names of frames and masks, which mask each frame has, and what is said."""

    frames: Sequence[object]
    masks: Sequence[object]
    wanted: list[int]
    said: str = ""


IN_ORDER = "so masks and frames are matched in order"
OTHER = "has other numbers than the frames: they are matched in order"
MATCHED = {
    "the same numbers": Case([1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3]),
    "the same numbers, written otherwise": Case([1, 2, 3, 4], ["m001", "m002", "m003", "m004"], [0, 1, 2, 3]),
    "the same gaps": Case([1, 2, 9, 10], [1, 2, 9, 10], [0, 1, 2, 3]),
    "other first numbers": Case([1001, 1002, 1003], [0, 1, 2], [0, 1, 2], OTHER),
    "other steps": Case([0, 10, 20], [0, 1, 2], [0, 1, 2], OTHER),
    "the same gaps from another first number": Case([1, 2, 9, 10], [0, 1, 8, 9], [0, 1, 2, 3], OTHER),
    "gaps in the frames": Case([1, 2, 9, 10], [0, 1, 2, 3], [0, 1, 2, 3], f"numbers of frames are missing, {IN_ORDER}"),
    "gaps in the masks": Case([0, 1, 2, 3], [1, 2, 9, 10], [0, 1, 2, 3], f"numbers of masks are missing, {IN_ORDER}"),
    "masks of missing frames too": Case(
        [1, 2, 4], [1, 2, 3, 4, 5], [0, 1, 3], "has masks of 2 numbers that no frame has (the first: 3)"
    ),
    "masks without numbers": Case([1, 2, 9], ["a", "b", "c"], [0, 1, 2], f"numbers of frames are missing, {IN_ORDER}"),
    "frames without numbers": Case(["a", "b", "c"], [1, 2, 9], [0, 1, 2], f"numbers of masks are missing, {IN_ORDER}"),
    "no numbers": Case(["a", "b", "c"], ["x", "y", "z"], [0, 1, 2]),
    "one picture": Case([7], [3], [0]),
}


def matching_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said about the match, not about either folder by itself."""
    return [message for message in caplog.messages if message.startswith("--mask")]


@pytest.mark.parametrize("case", MATCHED)
def test_every_frame_of_a_folder_has_its_mask_and_what_is_odd_is_said(tmp_path: Path, case: str, caplog):
    caplog.set_level("INFO")
    frames, masks, wanted, said = MATCHED[case]
    video = open_video(make_folder(tmp_path / "frames", frames))
    source = make_folder(tmp_path / "masks", masks, masks=True)
    assert masks_of(video, source, len(masks)) == wanted
    messages = matching_messages(caplog)
    assert len(messages) == bool(said)
    assert all(message.startswith(f"--mask person={source}") and said in message for message in messages)
    assert not [message for message in caplog.messages if message.startswith(f"{source}: ") and "missing" in message]


REFUSED = {
    "other gaps": (
        [1, 2, 9, 10],
        [1, 2, 5, 10],
        "has no mask for 1 of 4 frames, the first: 9; number the masks as the frames are",
    ),
    "masks missing": (
        [1, 2, 3, 4, 5],
        [1, 2, 5],
        "has 3 images, {frames} 5 frames (no mask for 2 of 5 frames, the first: 3); give one for each",
    ),
    "the last mask missing": (
        [0, 1, 2],
        [0, 1],
        "has 2 images, {frames} 3 frames (no mask for 1 of 3 frames, the first: 2); give one for each",
    ),
    "too many masks of other numbers": (
        [1, 2, 9],
        [0, 1, 2, 3],
        "has 4 images, {frames} 3 frames (no mask for 1 of 3 frames, the first: 9); give one for each",
    ),
    "too few masks without numbers": (
        [1, 2, 9],
        ["a", "b"],
        "has 2 images, {frames} 3 frames; give one for each",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_do_not_match_are_refused_with_what_is_missing(tmp_path: Path, case: str):
    frames, masks, message = REFUSED[case]
    video = open_video(make_folder(tmp_path / "frames", frames))
    source = make_folder(tmp_path / "masks", masks, masks=True)
    with pytest.raises(UserError) as raised:
        masks_of(video, source, len(masks))
    assert str(raised.value) == f"--mask person={source} " + message.format(frames=tmp_path / "frames")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_masks_with_gaps_follow_the_frames_of_a_file_in_order(tmp_path: Path, name: str, caplog):
    video = open_video(make_video(tmp_path / name, moving(4, HEIGHT, WIDTH)))
    source = make_folder(tmp_path / "masks", [0, 1, 5, 6], masks=True)
    assert masks_of(video, source, 4) == [0, 1, 2, 3]
    assert matching_messages(caplog) == [f"--mask person={source}: numbers of masks are missing, {IN_ORDER}"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_masks_with_gaps_are_refused_if_the_file_has_a_frame_for_each_number(tmp_path: Path, name: str):
    video = open_video(make_video(tmp_path / name, moving(7, HEIGHT, WIDTH)))
    source = make_folder(tmp_path / "masks", [0, 1, 5, 6], masks=True)
    with pytest.raises(
        UserError, match=r"has 4 images, .* 7 frames \(3 numbers between the first and the last are miss"
    ):
        masks_of(video, source, 4)


def mask_video(path: Path, count: int, rate: Fraction) -> Path:
    images = [np.stack([column(index, count)] * 3, -1) for index in range(count)]
    return make_video(path, images, rate=rate)


@pytest.mark.parametrize("name", ["masks.mp4", "masks.mkv"])  # the second does not say how many frames it has
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(7)])
@pytest.mark.parametrize(
    ("frames", "masks", "wanted"),
    [
        ([1, 2, 9, 10], 4, [0, 1, 2, 3]),
        ([1, 2, 4], 4, [0, 1, 3]),
        ([1, 2, 3], 3, [0, 1, 2]),
    ],
    ids=["a mask for each picture", "a mask for each number", "no gaps"],
)
def test_a_mask_video_has_a_mask_for_each_picture_or_for_each_number(
    tmp_path: Path, name: str, rate: Fraction, frames: list[int], masks: int, wanted: list[int], caplog
):
    video = open_video(make_folder(tmp_path / "frames", frames))
    caplog.clear()
    source = mask_video(tmp_path / name, masks, rate)
    assert masks_of(video, source, masks) == wanted
    in_order = masks == len(frames) < frames[-1]
    line = f"--mask person={source} has one frame for each image of {tmp_path}/frames: they are matched in order"
    assert caplog.messages == ([line] if in_order else [])


def test_a_mask_video_of_another_rate_that_does_not_say_its_length_is_matched_one_to_one(tmp_path: Path):
    video = open_video(make_video(tmp_path / "a.mkv", moving(5, HEIGHT, WIDTH)))
    assert masks_of(video, mask_video(tmp_path / "masks.mkv", 5, Fraction(7)), 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("part", [Part(), Part(Fraction(8, 25))], ids=["whole", "part"])
def test_masks_stay_with_their_frames_if_the_first_frame_or_mask_is_unreadable(tmp_path: Path, part: Part):
    frames = make_folder(tmp_path / "frames", [1, 2, 9, 10, 11])
    source = make_folder(tmp_path / "masks", [1, 2, 9, 10, 11], masks=True)
    first = 9 if part.start else 1
    (frames / f"{first}.png").write_bytes(b"damaged")
    assert masks_of(open_video(frames, part=part), source, 5) == ([3, 4] if part.start else [1, 2, 3, 4])
    (source / "1.png").write_bytes(b"damaged")
    assert masks_of(open_video(frames, part=part), source, 5) == ([3, 4] if part.start else [1, 2, 3, 4])


def test_a_part_of_a_folder_with_gaps_keeps_its_masks(tmp_path: Path):
    frames = make_folder(tmp_path / "frames", [1, 2, 9, 10])
    source = make_folder(tmp_path / "masks", [0, 1, 2, 3], masks=True)
    video = open_video(frames, part=Part(Fraction(1, 25), Fraction(9, 25)))
    assert masks_of(video, source, 4) == [1, 2]
