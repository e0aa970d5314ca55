"""A part of a video: where it begins in the file, and its properties."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import av
from av.container import InputContainer

from msst_jax.errors import UserError
from msst_jax.video.io.decoding import read_packets
from msst_jax.video.io.timestamps import TimestampNormalizer
from msst_jax.video.io.types import Chapter, Part, VideoInfo

# Formats with an index and exact timestamps; in others FFmpeg may seek past the place.
SEEKABLE_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
SEEK_MARGIN = 2  # seconds; frames that follow a keyframe may be shown before it


class PartStart(NamedTuple):
    """The first frame of a part: its number in the whole video, and its time there in seconds."""

    number: int
    time: Fraction


def find_start(info: VideoInfo, part: Part, timestamps: TimestampNormalizer) -> PartStart:
    """The first frame at or after the begin of a part; reads the packets before it, without decoding.

    Args:
      info: of the whole video file.
      part: what is wanted.
      timestamps: of the video stream.

    Raises:
      UserError: there is no such frame.
    """
    if not part.start:
        return PartStart(0, Fraction(0))
    number, first = 0, None
    for packet in read_packets(info.path):
        if packet.pts is not None and not packet.is_discard:
            time = timestamps.time(packet.pts) - info.start
            number += time < part.start
            first = time if time >= part.start and (first is None or time < first) else first
        if first is not None and packet.dts is not None and timestamps.time(packet.dts) - info.start >= first:
            break  # later packets are shown later
    check_part(info, part, first)
    assert first is not None
    return PartStart(number, first)


def check_part(info: VideoInfo, part: Part, first: Fraction | None) -> None:
    """Refuses a part without frames.

    Args:
      info: of the whole video.
      part: what is wanted.
      first: seconds of its first frame; None = there is none.

    Raises:
      UserError: says which flag to change.
    """
    if first is None:
        length = f"{float(info.duration):.2f} s long" if info.duration is not None else "shorter"
        raise UserError(f"--start is {float(part.start):g} s, but {info.path} is {length}; give less")
    if part.end is not None and first >= part.end:
        raise UserError(
            f"{info.path} has no frame from --start {float(part.start):g} to --end {float(part.end):g} s; the next is "
            f"at {float(first):g} s"
        )


def cut_info(info: VideoInfo, part: Part, start: PartStart) -> VideoInfo:
    """The properties of a part, from those of the whole video."""
    if not part.start and part.end is None:
        return info
    end = part.end if info.duration is None else min(part.end or info.duration, info.duration)
    duration = None if end is None else end - start.time
    chapters = [
        Chapter(max(chapter.start - start.time, Fraction(0)), chapter.end - start.time, chapter.tags)
        for chapter in info.extras.chapters
        if chapter.end > start.time
    ]
    return replace(
        info,
        start=info.start + start.time,
        duration=duration,
        frames=None if duration is None else max(1, math.ceil(duration * info.rate)),  # those that begin in it
        extras=replace(info.extras, chapters=tuple(chapters)),
        part=part,
        end=None if part.end is None else part.end - start.time,
        first_number=start.number,
    )


def seek_before(container: InputContainer, seconds: Fraction) -> None:
    """Goes to a keyframe before a time on the clock of the file, or stays where that is not reliable."""
    target = seconds - SEEK_MARGIN
    if target <= 0 or container.format.name not in SEEKABLE_FORMATS:
        return
    try:
        container.seek(int(target * av.time_base))
    except av.FFmpegError:
        return  # reading begins at the start then, which only takes longer
