"""Subtitles of an MP4 or QuickTime file are shown only if they are the default, also where tracks are empty."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

from msst_jax.video.io.mov_tracks import disable_tracks
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Part
from msst_jax.video.io.writer import video_writer
from tests.helpers.videos import Tone, add_subtitles, make_rich_video, make_video, moving, transcode

CONTAINERS = [".mp4", ".m4v", ".mov"]


def defaults(path: Path) -> list[bool]:
    """Whether each subtitle track is the default."""
    with av.open(str(path)) as file:
        return [bool(stream.disposition & Disposition.default) for stream in file.streams.subtitles]


def make_texts(path: Path, filled: list[bool], default: int | None = None) -> Path:
    """A video with subtitle tracks, some of them with a text, and perhaps one the default."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        codec = "subrip" if path.suffix == ".mkv" else "mov_text"
        texts = [add_subtitles(out, codec) for _ in filled]
        for index, stream in enumerate(texts):
            stream.disposition = Disposition.default if index == default else Disposition(0)
        for index, image in enumerate(moving(4)):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for stream, has_text in zip(texts, filled, strict=True):
            if has_text:
                packet = stream.codec_context.encode_subtitle(SubtitleSet.create(b"0,0,Default,,0,0,0,,text", 0, 300))
                packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 1000), 100, 100
                packet.duration = 200
                out.mux(packet)
    return path


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("default", [None, 0, 1])
def test_a_subtitle_track_is_the_default_only_if_it_was(tmp_path: Path, container: str, default: int | None):
    source = make_texts(tmp_path / "a.mkv", [True, True], default)
    transcode(source, tmp_path / f"out{container}")
    assert defaults(tmp_path / f"out{container}") == [default == 0, default == 1]


@pytest.mark.parametrize("container", CONTAINERS)
def test_subtitles_that_a_part_has_nothing_of_are_no_default_either(tmp_path: Path, container: str):
    video = open_video(make_rich_video(tmp_path / "a.mkv"), part=Part(Fraction(0), Fraction(1, 20)))
    with video_writer(tmp_path / f"out{container}", video.info) as writer:
        for frame in video.frames():
            writer.write(frame)
    assert defaults(tmp_path / f"out{container}") == [False, False]


@pytest.mark.parametrize("filled", [[True, True], [False, True]], ids=["both", "the second alone"])
def test_one_bit_of_one_track_changes(tmp_path: Path, filled: list[bool]):
    path = make_texts(tmp_path / "a.mp4", filled, default=1)
    before = path.read_bytes()
    disable_tracks(path, [2])
    assert defaults(path) == [False, False]
    assert sum(one != other for one, other in zip(path.read_bytes(), before, strict=True)) == 1


def test_that_audio_is_transcoded_is_said_once_for_all_tracks(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    sounds = [Tone("libmp3lame"), Tone("aac"), Tone("libmp3lame")]
    path = make_video(tmp_path / "a.mp4", moving(3), sounds=sounds)
    transcode(path, tmp_path / "out.webm")
    assert caplog.messages == [f"the audio of {path} is transcoded: webm cannot hold mp3, aac"]
