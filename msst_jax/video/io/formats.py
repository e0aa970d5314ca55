"""Container formats: readable and writable file suffixes, and the codecs and muxer options of each output format."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

GIF = ".gif"
ALPHA_FORMAT = "yuva420p"  # of VP9, by FFmpeg's name
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
      muxer: the container, by FFmpeg's name.
      subtitle_codecs: subtitle codecs that are copied into the container.
      subtitle_encoder: converts all other text, by FFmpeg's name.
      tags: descriptive tags of a file that the container stores; None = all.
      attachments: whether it holds attached files.
      alpha: whether it holds an alpha channel.
    """

    encoder: str
    crf: int
    crf_range: tuple[int, int]
    options: dict[str, str]
    file_options: Callable[[Fraction], dict[str, str]]
    audio_codecs: frozenset[str]
    audio_encoder: str
    muxer: str
    subtitle_codecs: frozenset[str]
    subtitle_encoder: str
    tags: frozenset[str] | None = None
    attachments: bool = False
    alpha: bool = False

    @property
    def subtitles(self) -> frozenset[str]:
        """Subtitle codecs that reach the container, as they are or converted; bitmaps cannot be converted to text."""
        return self.subtitle_codecs | TEXT_SUBTITLES


def _mp4_options(time_base: Fraction) -> dict[str, str]:
    """The index first, for streaming in browsers, and a movie timescale that is a multiple of the time base's.

    The default timescale of 1/1000 s would round the start of a track that begins late.
    """
    timescale = time_base.denominator * math.ceil(MP4_MIN_TIMESCALE / time_base.denominator)
    return {"movflags": "+faststart", "movie_timescale": str(timescale)}


def _matroska_options(time_base: Fraction) -> dict[str, str]:
    """Without a random segment UID, so that equal runs write equal files."""
    return {"fflags": "+bitexact"}


TEXT_SUBTITLES = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
MOV_TAGS = frozenset({"title", "artist", "album", "comment", "copyright", "date", "genre"})
MP4_TAGS = MOV_TAGS | {
    *("album_artist", "composer", "description", "synopsis", "show", "network", "episode_id", "keywords", "grouping"),
    *("lyrics", "season_number", "episode_sort", "hd_video", "media_type", "compilation"),
}
_MP4 = ContainerFormat(
    encoder="libx264",
    crf=18,
    crf_range=(1, 51),
    options={"bf": "0"},  # with B-frames, the duration of an MP4 with a variable frame rate would be wrong
    file_options=_mp4_options,
    audio_codecs=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
    audio_encoder="aac",
    muxer="mp4",
    subtitle_codecs=frozenset({"mov_text"}),
    subtitle_encoder="mov_text",
    tags=MP4_TAGS,
)
_PCM = frozenset({f"pcm_{kind}" for kind in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be")})

CONTAINER_FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MP4._replace(
        muxer="mov", tags=MOV_TAGS, audio_codecs=frozenset({"aac", "mp3", "ac3", "eac3", "alac"}) | _PCM
    ),
    ".mkv": _MP4._replace(
        file_options=_matroska_options,
        audio_codecs=frozenset({*_MP4.audio_codecs, "vorbis", "mp2", "dts", "truehd", "wavpack", "pcm_s16le"})
        | {"pcm_s24le", "pcm_s32le", "pcm_f32le"},
        muxer="matroska",
        subtitle_codecs=frozenset({"subrip", "ass", "webvtt", "dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle"}),
        subtitle_encoder="subrip",
        tags=None,
        attachments=True,
    ),
    ".webm": ContainerFormat(
        encoder="libvpx-vp9",
        crf=24,
        crf_range=(0, 63),
        options={"row-mt": "1", "cpu-used": "4", "deadline": "good"},
        file_options=_matroska_options,
        audio_codecs=frozenset({"opus", "vorbis"}),
        audio_encoder="libopus",
        muxer="webm",
        subtitle_codecs=frozenset({"webvtt"}),
        subtitle_encoder="webvtt",
        alpha=True,
    ),
}

# Suffixes that are written as a video; a path without a suffix is a folder of PNG frames.
VIDEO_OUTPUT_SUFFIXES = (*CONTAINER_FORMATS, GIF)

# Suffixes that are read as a video.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".ogv", ".3gp", ".y4m"),
)


def has_avx512() -> bool:
    """Whether the processor has AVX-512."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[index, call-overload]
    return any(name.startswith("AVX512") or name == "X86_V4" for name in found)


def pixel_format(container_format: ContainerFormat, size: tuple[int, int], has_alpha: bool = False) -> str:
    """FFmpeg's pixel format for frames of size (width, height), with alpha if the container holds it.

    4:2:0 chroma, except for H.264 with an odd side: x264 cannot subsample that, VP9 can.
    """
    if has_alpha and container_format.alpha:
        return ALPHA_FORMAT
    odd = container_format.encoder == "libx264" and any(side % 2 for side in size)
    return "yuv444p" if odd else "yuv420p"


def encoder_options(container_format: ContainerFormat, crf: int | None, pixel_format: str) -> dict[str, str]:
    """The private options of the video encoder; crf None = the default of the format."""
    options = {**container_format.options, "crf": str(container_format.crf if crf is None else crf)}
    if container_format.encoder == "libx264" and has_avx512():
        # With AVX-512, x264 encodes about one in four hundred equal videos differently, so that a resumed one would not
        # be the same file; with AVX2 none of 3,400, at 0.98 of the speed.
        options["x264-params"] = "asm=AVX2"
    # libvpx refuses alternate reference frames together with alpha.
    return {**options, "auto-alt-ref": "0"} if pixel_format == ALPHA_FORMAT else options
