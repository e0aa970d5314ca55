"""Container formats: readable and writable file suffixes, and the codecs and muxer options of each output format."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

GIF = ".gif"
MP4_MIN_TIMESCALE = 10_000  # ticks per second


class ContainerFormat(NamedTuple):
    """How video and audio are encoded for a container.

    Attributes:
      encoder: the video encoder, by FFmpeg's name.
      crf: default constant rate factor; smaller is better quality and a larger file.
      crf_range: smallest and largest sensible crf; H.264's 0 is lossless, which few players support.
      options: options of the video encoder.
      file_options: options of the muxer, by the time base in seconds.
      audio_codecs: audio codecs that are copied into the container.
      audio_encoder: transcodes all others, by FFmpeg's name.
    """

    encoder: str
    crf: int
    crf_range: tuple[int, int]
    options: dict[str, str]
    file_options: Callable[[Fraction], dict[str, str]]
    audio_codecs: frozenset[str]
    audio_encoder: str


def _mp4_options(time_base: Fraction) -> dict[str, str]:
    """The index first, for streaming in browsers, and a movie timescale that is a multiple of the time base's.

    The default timescale of 1/1000 s would round the start of a track that begins late.
    """
    timescale = time_base.denominator * math.ceil(MP4_MIN_TIMESCALE / time_base.denominator)
    return {"movflags": "+faststart", "movie_timescale": str(timescale)}


CONTAINER_FORMATS = {
    # With B-frames, the duration of an MP4 with a variable frame rate would be wrong.
    ".mp4": ContainerFormat(
        encoder="libx264",
        crf=18,
        crf_range=(1, 51),
        options={"bf": "0"},
        file_options=_mp4_options,
        audio_codecs=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
        audio_encoder="aac",
    ),
    ".webm": ContainerFormat(
        encoder="libvpx-vp9",
        crf=24,
        crf_range=(0, 63),
        options={"row-mt": "1", "cpu-used": "4", "deadline": "good"},
        file_options=lambda time_base: {"fflags": "+bitexact"},  # else the muxer writes a random segment UID
        audio_codecs=frozenset({"opus", "vorbis"}),
        audio_encoder="libopus",
    ),
}

# Suffixes that are written as a video; a path without a suffix is a folder of PNG frames.
VIDEO_OUTPUT_SUFFIXES = (*CONTAINER_FORMATS, GIF)

# Suffixes that are read as a video.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".ogv", ".3gp", ".y4m"),
)


def pixel_format(container_format: ContainerFormat, size: tuple[int, int]) -> str:
    """FFmpeg's pixel format for frames of size (width, height).

    4:2:0 chroma, except for H.264 with an odd side: x264 cannot subsample that, VP9 can.
    """
    odd = container_format.encoder == "libx264" and any(side % 2 for side in size)
    return "yuv444p" if odd else "yuv420p"
