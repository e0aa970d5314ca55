"""A part of a video: its frames are those of the whole, from time 0 on, and everything else is cut along."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.video.io import part as part_module
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Part, number_frames
from msst_jax.video.io.writer import video_writer
from tests.helpers.pictures import noise, save
from tests.helpers.videos import UNEVEN, Tone, make_rich_video, make_video, sound_span

RATE = Fraction(5)
COUNT = 20
SECONDS = Fraction(COUNT, 5)


def seconds(start: str, end: str | None = None) -> Part:
    return Part(Fraction(start), None if end is None else Fraction(end))


def make_source(folder: Path, name: str) -> Path:
    images = [noise(48, 64, seed) for seed in range(COUNT)]
    path = folder / name
    if name == "frames":
        path.mkdir()
        for number, image in enumerate(images):
            save(path / f"{number}.png", image)
        return path
    codec, options = ("libvpx-vp9", {}) if name.endswith("webm") else ("libx264", {"g": "6", "bf": "2"})
    time_base = Fraction(1, 90000) if name.endswith("ts") else None
    return make_video(path, images, rate=RATE, codec=codec, options=options, time_base=time_base)


PARTS = {
    "from the middle": (seconds("2"), 10, 20),
    "from between two frames": (seconds("2.1"), 11, 20),
    "to the middle": (seconds("0", "1.6"), 0, 8),
    "a piece": (seconds("1.2", "2.3"), 6, 12),
    "one frame": (seconds("3.8", "3.9"), 19, 20),
    "to beyond the end": (seconds("3", "99"), 15, 20),
}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.ts", "a.avi", "frames"])
@pytest.mark.parametrize("which", PARTS)
@pytest.mark.parametrize("margin", [2, Fraction(1, 2)], ids=["read from the start", "sought"])
def test_the_frames_of_a_part_are_those_of_the_whole(
    tmp_path: Path, name: str, which: str, margin: Fraction, monkeypatch
):
    monkeypatch.setattr(part_module, "SEEK_MARGIN", margin)
    path, (part, first, last) = make_source(tmp_path, name), PARTS[which]
    whole = list(open_video(path, RATE).frames())
    source = open_video(path, RATE, part)
    frames = list(source.frames())
    assert len(frames) == last - first
    for one, two in zip(frames, whole[first:last], strict=True):
        assert one.time == two.time - whole[first].time
        np.testing.assert_array_equal(one.image, two.image)
    assert source.info.first_number == first
    assert source.info.frames in (last - first, None)
    numbers = [number for number, _ in number_frames(frames, RATE, source.info.first_number)]
    assert numbers == list(range(first, last))


def test_frames_at_uneven_times_are_cut_and_numbered_too(tmp_path: Path):
    images = [noise(48, 64, seed) for seed in range(len(UNEVEN))]
    path = make_video(tmp_path / "a.mkv", images, UNEVEN, time_base=Fraction(1, 1000))
    source = open_video(path, part=seconds("0.2", "0.44"))
    assert [frame.time for frame in source.frames()] == [time - UNEVEN[4] for time in UNEVEN[4:7]]
    assert source.info.first_number == 4


REFUSED = {
    "start beyond the end": (seconds("4"), "--start is 4 s, but PATH is 4.00 s long; give less"),
    "no frame in it": (
        seconds("0.21", "0.39"),
        "PATH has no frame from --start 0.21 to --end 0.39 s; the next is at 0.4 s",
    ),
}


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
@pytest.mark.parametrize("why", REFUSED)
def test_a_part_without_frames_is_refused_in_one_line(tmp_path: Path, name: str, why: str):
    path, (part, message) = make_source(tmp_path, name), REFUSED[why]
    with pytest.raises(UserError, match=f"^{re.escape(message.replace('PATH', str(path)))}$"):
        open_video(path, RATE, part)


def write_part(path: Path, output: Path, part: Part) -> None:
    source = open_video(path, part=part)
    with video_writer(output, source.info) as writer:
        for frame in source.frames():
            writer.write(frame)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("margin", [2, Fraction(1, 2)], ids=["read from the start", "sought"])
def test_the_audio_is_cut_along(tmp_path: Path, suffix: str, margin: Fraction, monkeypatch):
    monkeypatch.setattr(part_module, "SEEK_MARGIN", margin)
    images = [noise(48, 64, seed) for seed in range(COUNT)]
    path = make_video(tmp_path / "a.mp4", images, rate=RATE, sounds=[Tone("aac", seconds=4)])
    write_part(path, tmp_path / f"out{suffix}", seconds("1.6", "3"))
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        first = next(file.decode(video=0)).pts * file.streams.video[0].time_base
    begin, end = sound_span(tmp_path / f"out{suffix}")
    assert abs(begin - first) < Fraction(1, 20)
    assert abs(end - first - Fraction(14, 10)) < Fraction(1, 20)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_subtitles_and_chapters_are_cut_along(tmp_path: Path, suffix: str):
    path = make_rich_video(tmp_path / "a.mkv")  # subtitles at 0.1 to 0.4 and 0.5 to 0.8 s; chapters from 0 and 0.4 s
    output = tmp_path / f"out{suffix}"
    write_part(path, output, seconds("0.3", "0.6"))
    with av.open(str(output)) as file:
        start = next(file.decode(video=0)).pts * file.streams.video[0].time_base
    with av.open(str(output)) as file:
        shown = [
            (packet.pts * packet.time_base - start, packet.duration * packet.time_base)
            for packet in file.demux(file.streams.subtitles[0])
            if packet.size > 2  # not the gaps of an MP4
        ]
        chapters = [(one["start"] * one["time_base"], one["end"] * one["time_base"]) for one in file.chapters()]
    tenth = Fraction(1, 10)
    assert shown == [(0, tenth), (2 * tenth, tenth)]
    assert chapters == [(0, tenth), (tenth, 3 * tenth)]
