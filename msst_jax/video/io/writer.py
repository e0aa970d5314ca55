"""Clips out: MP4, WebM, GIF or a folder of PNGs, under their name only when they are complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.files import atomic_path, check_writable, os_errors_as_user_errors
from msst_jax.video.io.encoders import FrameFolderSink, FrameSink, GifSink, VideoFileSink
from msst_jax.video.io.formats import CONTAINER_FORMATS, GIF, pixel_format
from msst_jax.video.io.segments import DEFAULT_SEGMENTS, PackedPackets, SegmentOptions
from msst_jax.video.io.types import Frame, VideoInfo

VIDEO_OUTPUT_SUFFIXES = (*CONTAINER_FORMATS, GIF)


class VideoWriter:
    """Takes the frames of a clip one by one; see `video_writer`. One thread at a time may use it, whichever it is.

    Attributes:
      frames: how many have come.
      sound_ends_with_frames: set it to leave out the sound after the last frame, when not all frames come.
    """

    def __init__(self, path: Path, sink: FrameSink, size: tuple[int, int]):
        self.frames = 0
        self.sound_ends_with_frames = False
        self._path = path
        self._sink = sink
        self._shape = (size[1], size[0], 3)
        self._end = Fraction(0)

    def write(self, frame: Frame) -> None:
        """Adds a frame: uint8 (height, width, 3), later than the frame before.

        Raises:
          UserError: the file system or the encoder refuses.
          ValueError: an image of another type or shape.
        """
        if frame.image.shape != self._shape or frame.image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._shape}, got {frame.image.dtype} {frame.image.shape}")
        with encoder_errors_as_user_errors(self._path):
            self._sink.write(frame)
        self.count(frame.time + frame.duration)

    def write_segment(self, packed: PackedPackets) -> None:
        """Adds a segment that was encoded in an earlier run, only to what is written in segments; see `count`.

        Raises:
          UserError: the file system refuses.
        """
        assert isinstance(self._sink, VideoFileSink)
        with encoder_errors_as_user_errors(self._path):
            self._sink.write_segment(packed)

    def count(self, end: Fraction) -> None:
        """Counts a frame, up to `end` in seconds; `write` does so itself, for those of a segment it must be told."""
        self.frames += 1
        self._end = end

    def finish(self) -> None:
        """Writes what is left; `video_writer` calls it.

        Raises:
          UserError: the file system or the encoder refuses, or there was no frame.
        """
        if self.frames == 0:
            raise UserError(f"cannot write {self._path}: there is no frame; give a clip that has some")
        with encoder_errors_as_user_errors(self._path):
            self._sink.finish(self._end if self.sound_ends_with_frames else None)


@contextmanager
def video_writer(
    path: str | Path,
    clip: VideoInfo,
    width: int = 0,
    height: int = 0,
    crf: int | None = None,
    segments: SegmentOptions = DEFAULT_SEGMENTS,
) -> Iterator[VideoWriter]:
    """A writer of a clip that appears as `path` when the block ends; if the block fails, nothing stays behind.

    Times are those of the frames: exact in .mp4, to a millisecond in .webm, to 1/100 s in .gif (a frame that comes
    sooner than 2/100 s after the last is left out); a folder has none. The size is kept to the pixel: H.264 halves the
    resolution of colour (yuv420p) where both sides are even, and keeps it (yuv444p, which some players do not show)
    where one is odd. Colours are tagged as the clip's, in limited range. The sound of the clip is copied where the
    container holds its codec; else it becomes AAC or Opus, mono or stereo. A GIF and a folder have none.

    Args:
      path: .mp4 (H.264), .webm (VP9), .gif, or without an ending a folder of 000001.png, 000002.png, ...
      clip: what is written is a version of this one, and takes its rate, time base, colours and sound.
      width: of the frames; 0 = as the clip's.
      height: of the frames; 0 = as the clip's.
      crf: quality, smaller is better: 1 to 51 for .mp4 (default 18), 0 to 63 for .webm (default 24), others have none.
      segments: how .mp4 and .webm are cut: what is in a file depends on the number of frames.

    Raises:
      UserError: a name or number that cannot be used, a place that cannot be written to, or no frame.
    """
    path = Path(path)
    check_video_output(path, crf)
    size = (width or clip.width, height or clip.height)
    _warn_about_limits(path, clip, size)
    with atomic_path(path, folder=not path.suffix, place=segments.place) as temporary:
        with encoder_errors_as_user_errors(path):
            sink = _open_sink(path.suffix.lower(), temporary, clip, size, crf, segments)
        try:
            writer = VideoWriter(path, sink, size)
            yield writer
            writer.finish()
        finally:
            sink.close()


def check_video_output(path: Path, crf: int | None = None) -> None:
    """Fails before any work if a clip cannot be written as `path`.

    Raises:
      UserError: the ending, the place, or the quality asked for.
    """
    ending = path.suffix.lower()
    known = ", ".join(VIDEO_OUTPUT_SUFFIXES)
    if not path.name:
        raise UserError(f"cannot write frames to {path}: the folder is not empty; name one that is not there yet")
    if ending and ending not in VIDEO_OUTPUT_SUFFIXES:
        raise UserError(
            f"cannot write {path}: unknown video ending {path.suffix!r}; use one of {known}, or no ending for a folder"
        )
    if crf is not None and ending not in CONTAINER_FORMATS:
        raise UserError(
            f"the quality (crf) is {crf}, but {path} has none; leave it out, or write {' or '.join(CONTAINER_FORMATS)}"
        )
    if crf is not None:
        least, most = CONTAINER_FORMATS[ending].crf_range
        if not least <= crf <= most:
            raise UserError(f"the quality (crf) is {crf}; give {least} (best) to {most} for {ending}")
    with os_errors_as_user_errors(path):
        if ending or not path.exists():
            check_writable(path, "out.mp4")
        elif not path.is_dir():
            raise UserError(f"cannot write frames to {path}: it is a file; give a folder, or one of {known}")
        elif any(path.iterdir()):
            raise UserError(f"cannot write frames to {path}: the folder is not empty; empty it, or give another")


@contextmanager
def encoder_errors_as_user_errors(path: Path) -> Iterator[None]:
    """Turns what the file system or FFmpeg refuses inside the block into a UserError."""
    try:
        with os_errors_as_user_errors(path):
            yield
    except av.FFmpegError as error:
        raise UserError(
            f"cannot write {path}: the encoder refuses ({error.strerror}); choose another size or format"
        ) from error


def _open_sink(
    ending: str, place: Path, clip: VideoInfo, size: tuple[int, int], crf: int | None, segments: SegmentOptions
) -> FrameSink:
    if ending in CONTAINER_FORMATS:
        return VideoFileSink(place, clip, size, CONTAINER_FORMATS[ending], crf, segments)
    return GifSink(place, size) if ending == GIF else FrameFolderSink(place)


def _warn_about_limits(path: Path, clip: VideoInfo, size: tuple[int, int]) -> None:
    """Tells what a person may not expect of the output."""
    ending = path.suffix.lower()
    if clip.audio_streams and ending not in CONTAINER_FORMATS:
        logging.warning("%s has no sound: that of %s is left out", path, clip.path)
    if clip.pixel_aspect != 1 and ending != ".mp4":
        logging.warning("%s cannot say that the pixels of %s are not square: it looks stretched", path, clip.path)
    if ending in CONTAINER_FORMATS and pixel_format(CONTAINER_FORMATS[ending], size) != "yuv420p":
        logging.warning("%s is %dx%d: players that need even sides do not show it", path, *size)
