"""The numbers of a folder of frames: whatever is missing, double or odd is said, and the others keep their times."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.video.io.frame_numbers import natural_order, number_files
from msst_jax.video.io.reader import open_video
from tests.helpers.pictures import save
from tests.helpers.videos import transcode

Shown = list[tuple[str, int, int]]

CASES: dict[str, tuple[list[str], Shown, list[str]]] = {
    "complete": (["1.png", "2.png", "3.png"], [("1.png", 0, 1), ("2.png", 1, 1), ("3.png", 2, 1)], []),
    "from zero": (["f0.png", "f1.png"], [("f0.png", 0, 1), ("f1.png", 1, 1)], []),
    "a gap": (
        ["f_1.png", "f_2.png", "f_5.png"],
        [("f_1.png", 0, 1), ("f_2.png", 1, 3), ("f_5.png", 4, 1)],
        [r"2 of 5 frames are missing \(the first: 3\); those before are shown longer"],
    ),
    "mixed widths": (
        ["f9.png", "f10.png", "f08.png"],
        [("f08.png", 0, 1), ("f9.png", 1, 1), ("f10.png", 2, 1)],
        [],
    ),
    "two widths of one number": (
        ["frame_1.png", "frame_001.png", "frame_2.png"],
        [("frame_001.png", 0, 1), ("frame_2.png", 1, 1)],
        [r"1 files have the number of another and are left out \(the first: frame_1.png, as frame_001.png\)"],
    ),
    "two endings of one number": (
        ["1.jpg", "1.png", "2.jpg"],
        [("1.jpg", 0, 1), ("2.jpg", 1, 1)],
        [r"1 files have .* \(the first: 1.png, as 1.jpg\)"],
    ),
    "one number only, twice": (["1.jpg", "1.png"], [("1.jpg", 0, 1)], [r"1 files have"]),
    "equal steps": (
        ["f000.png", "f010.png", "f030.png", "f040.png"],
        [("f000.png", 0, 1), ("f010.png", 1, 2), ("f030.png", 3, 1), ("f040.png", 4, 1)],
        [r"1 of 5 frames are missing \(the first: 20\)"],
    ),
    "negative": (
        ["f_-1.png", "f_-2.png", "f_0.png", "f_1.png"],
        [("f_-2.png", 0, 1), ("f_-1.png", 1, 1), ("f_0.png", 2, 1), ("f_1.png", 3, 1)],
        [],
    ),
    "negative alone": (["-2.png", "-1.png"], [("-2.png", 0, 1), ("-1.png", 1, 1)], []),
    "a hyphen that is no minus": (["f-1.png", "f-2.png"], [("f-1.png", 0, 1), ("f-2.png", 1, 1)], []),
    "huge": (
        [f"{10**40}.png", f"{10**40 + 1}.png"],
        [(f"{10**40}.png", 0, 1), (f"{10**40 + 1}.png", 1, 1)],
        [],
    ),
    "huge gap": (
        ["1.png", "2.png", f"{10**40}.png"],
        [("1.png", 0, 1), ("2.png", 1, 1), (f"{10**40}.png", 2, 1)],
        [rf"the numbers jump from 2 to {10**40}: the frames follow each other in the order of their names"],
    ),
    "constant groups": (
        ["shot2_take3_0001_v7.png", "shot2_take3_0003_v7.png", "shot2_take3_0002_v7.png"],
        [(f"shot2_take3_000{number}_v7.png", number - 1, 1) for number in (1, 2, 3)],
        [],
    ),
    "several groups that vary": (
        ["a1_9.png", "a2_1.png", "a10_1.png"],
        [("a1_9.png", 0, 1), ("a2_1.png", 1, 1), ("a10_1.png", 2, 1)],
        [r"the names do not differ in one number \(a1_9.png, a10_1.png\): the frames follow"],
    ),
    "two series": (
        ["a_1.png", "b_1.png", "a_2.png"],
        [("a_1.png", 0, 1), ("a_2.png", 1, 1), ("b_1.png", 2, 1)],
        [r"the names do not differ in one number"],
    ),
    "no numbers": (["b.png", "a.png"], [("a.png", 0, 1), ("b.png", 1, 1)], [r"the names do not differ in one number"]),
    "one without a number": (
        ["1.png", "2.png", "title.png"],
        [("1.png", 0, 1), ("2.png", 1, 1), ("title.png", 2, 1)],
        [r"the names do not differ in one number"],
    ),
    "capitals": (["IMG_1.PNG", "img_2.png"], [("IMG_1.PNG", 0, 1), ("img_2.png", 1, 1)], []),
    "a single file": (["0007.png"], [("0007.png", 0, 1)], []),
    "a single file without a number": (["a.png"], [("a.png", 0, 1)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_times_and_what_is_odd_is_said(case: str):
    names, expected, remarks = CASES[case]
    numbering = number_files(sorted(map(Path, names), key=natural_order))
    assert [(frame.file.name, frame.position, frame.periods) for frame in numbering.frames] == expected
    said = [*numbering.remarks, *filter(None, [numbering.missing])]
    for remark, pattern in zip(said, remarks, strict=True):
        assert re.match(pattern, remark), remark


def flat(level: int) -> np.ndarray:
    return np.full((32, 48, 3), level, np.uint8)


def make_frames(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        save(folder / name, flat(40 * (number + 1)))
    return folder


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_before_a_gap_the_frame_is_held_in_the_video(tmp_path: Path, ending: str):
    folder = make_frames(tmp_path / "in", "f_1.png", "f_2.png", "f_5.png")
    assert open_video(folder).info.duration == Fraction(5, 25)
    written = transcode(folder, tmp_path / f"out{ending}")
    times = [frame.time for frame in written.frames()]
    assert times == [Fraction(0), Fraction(1, 25), Fraction(4, 25)]
    assert written.info.duration == Fraction(5, 25)


def test_an_output_folder_keeps_the_names_and_so_the_gaps(tmp_path: Path):
    names = ["f_-1.png", "f_0.png", "f_003.png"]
    folder = make_frames(tmp_path / "in", *names)
    transcode(folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    with Image.open(tmp_path / "out" / "f_003.png") as last:
        np.testing.assert_array_equal(last, flat(120))


def test_names_that_differ_only_in_their_ending_are_numbered_anew(tmp_path: Path):
    folder = make_frames(tmp_path / "in", "a.png", "a.bmp", "b.png")
    transcode(folder, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000001.png", "000002.png", "000003.png"]
