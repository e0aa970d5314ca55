"""Containers and their codecs: which file endings can be written, and how."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

GIF = ".gif"
MP4_TICKS = 10_000  # a second in at least so many parts


class ContainerFormat(NamedTuple):
    """How a container is filled.

    Attributes:
      encoder: of the frames, by FFmpeg's name.
      crf: the default of its constant rate factor: smaller is better and larger.
      crf_range: what is sensible; H.264's 0 is lossless, which few players show.
      options: of the encoder.
      file_options: of the container, by the time base.
      audio_streams: codecs of sound that are copied into it.
      sound_encoder: for the others.
    """

    encoder: str
    crf: int
    crf_range: tuple[int, int]
    options: dict[str, str]
    file_options: Callable[[Fraction], dict[str, str]]
    audio_streams: frozenset[str]
    sound_encoder: str


def _mp4_options(time_base: Fraction) -> dict[str, str]:
    """The index comes first, for browsers; what begins late does so on time, which the usual 1/1000 s rounds."""
    ticks = time_base.denominator * math.ceil(MP4_TICKS / time_base.denominator)
    return {"movflags": "+faststart", "movie_timescale": str(ticks)}


CONTAINER_FORMATS = {
    # With B-frames MP4 would have a wrong duration where the frame rate varies.
    ".mp4": ContainerFormat(
        encoder="libx264",
        crf=18,
        crf_range=(1, 51),
        options={"bf": "0"},
        file_options=_mp4_options,
        audio_streams=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
        sound_encoder="aac",
    ),
    ".webm": ContainerFormat(
        encoder="libvpx-vp9",
        crf=24,
        crf_range=(0, 63),
        options={"row-mt": "1", "cpu-used": "4", "deadline": "good"},
        file_options=lambda time_base: {"fflags": "+bitexact"},  # else the file has a random number of its own
        audio_streams=frozenset({"opus", "vorbis"}),
        sound_encoder="libopus",
    ),
}


def pixel_format(kind: ContainerFormat, size: tuple[int, int]) -> str:
    """H.264 cannot halve the colours of an odd side; VP9 can."""
    odd = kind.encoder == "libx264" and any(side % 2 for side in size)
    return "yuv444p" if odd else "yuv420p"


# Containers of moving pictures, by their usual endings.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".ogv", ".3gp", ".y4m"),
)
