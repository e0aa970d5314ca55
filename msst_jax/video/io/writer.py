"""Video writing: MP4, WebM, GIF or a folder of PNG frames, committed atomically when complete."""

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
from msst_jax.video.io.extras import dropped_extras
from msst_jax.video.io.formats import CONTAINER_FORMATS, GIF, VIDEO_OUTPUT_SUFFIXES, pixel_format
from msst_jax.video.io.segments import DEFAULT_SEGMENTS, PackedPackets, SegmentOptions
from msst_jax.video.io.types import Frame, VideoInfo


class VideoWriter:
    """Writes the frames of a video one by one; see `video_writer`. Any thread may use it, but only one at a time.

    Attributes:
      frames: number of frames written so far.
      trim_audio_to_frames: set to True to cut the audio at the end of the last frame, if not all frames are written.
    """

    def __init__(self, path: Path, sink: FrameSink, size: tuple[int, int]):
        """Takes the output path, for messages, its sink, and the (width, height) of frames."""
        self.frames = 0
        self.trim_audio_to_frames = False
        self._warned = False
        self._path = path
        self._sink = sink
        self._shape = (size[1], size[0], 3)
        self._end = Fraction(0)

    def write(self, frame: Frame) -> None:
        """Appends a frame: uint8 (height, width, 3), RGB, later than the previous frame.

        Raises:
          UserError: the file cannot be written, or the encoder fails.
          ValueError: an image of another dtype or shape.
        """
        if frame.image.shape != self._shape or frame.image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._shape}, got {frame.image.dtype} {frame.image.shape}")
        if frame.alpha is not None and not self._sink.holds_alpha:
            self._warn_of_transparency(frame.alpha)
        with encoder_errors_as_user_errors(self._path):
            self._sink.write(frame)
        self.count(frame.time + frame.duration)

    def _warn_of_transparency(self, alpha: np.ndarray) -> None:
        """Warns with the first transparent frame; an alpha channel may be opaque throughout."""
        if not self._warned and alpha.min() < 255:
            logging.warning("%s cannot hold transparency: the frames are stylized over white", self._path)
            self._warned = True

    def write_segment(self, packed: PackedPackets) -> None:
        """Appends a segment that an earlier run encoded (no GIF, no folder); call `count` for each of its frames.

        Raises:
          UserError: the file cannot be written.
        """
        assert isinstance(self._sink, VideoFileSink)
        with encoder_errors_as_user_errors(self._path):
            self._sink.write_segment(packed)

    def count(self, end: Fraction) -> None:
        """Counts a frame that ends at `end` seconds; `write` does so itself, `write_segment` does not."""
        self.frames += 1
        self._end = end

    def finish(self) -> None:
        """Writes all pending data; called by `video_writer`.

        Raises:
          UserError: the file cannot be written, the encoder fails, or no frames were written.
        """
        if self.frames == 0:
            raise UserError(f"cannot write {self._path}: there are no frames; give a video with at least one")
        with encoder_errors_as_user_errors(self._path):
            self._sink.finish(self._end if self.trim_audio_to_frames else None)


@contextmanager
def video_writer(
    path: str | Path,
    video: VideoInfo,
    width: int = 0,
    height: int = 0,
    crf: int | None = None,
    segments: SegmentOptions = DEFAULT_SEGMENTS,
) -> Iterator[VideoWriter]:
    """Opens a writer whose output appears at `path` when the block ends; if the block fails, nothing is left behind.

    Frame times are exact in .mp4 and .mov, rounded to a millisecond in .mkv and .webm and to 1/100 s in .gif (a frame
    less than 2/100 s after the previous one is dropped); a folder stores none. The size is kept to the pixel: H.264 is
    encoded with 4:2:0 chroma (yuv420p) if both sides are even, else with 4:4:4 (yuv444p, which some players do not
    support). Colors are tagged as the source's, in limited range. The audio of the source is copied if the container
    can hold its codec, and else transcoded to AAC or Opus, mono or stereo; subtitles, chapters and tags go with it, see
    `dropped_extras`. A GIF and a folder hold nothing but frames.

    Args:
      path: .mp4, .m4v, .mov, .mkv (H.264), .webm (VP9), .gif, or without a suffix a folder of PNGs: with the names of
        the source, if that is a folder too, else 000001.png, 000002.png, ...
      video: the source, for rate, time base, pixel aspect ratio, colors and audio.
      width: pixels of the frames; 0 = as the source.
      height: pixels of the frames; 0 = as the source.
      crf: constant rate factor, smaller is better: 1 to 51 for H.264 (default 18), 0 to 63 for .webm (default 24); not
        for other formats.
      segments: how all but GIFs and folders are encoded; the file depends on the number of frames per segment.

    Raises:
      UserError: an unusable path or crf, an unwritable location, an encoder failure, or no frames.
    """
    path = Path(path)
    check_video_output(path, crf)
    size = (width or video.width, height or video.height)
    _warn_about_limits(path, video, size)
    with atomic_path(path, folder=not path.suffix, place=segments.place) as temporary:
        with encoder_errors_as_user_errors(path):
            sink = _open_sink(path.suffix.lower(), temporary, video, size, crf, segments)
        try:
            writer = VideoWriter(path, sink, size)
            yield writer
            writer.finish()
        finally:
            sink.close()


def check_video_output(path: Path, crf: int | None = None) -> None:
    """Fails before any work if a video cannot be written to `path`.

    Args:
      path: see `video_writer`.
      crf: see `video_writer`; None = the default.

    Raises:
      UserError: an unknown suffix, an unwritable location, a folder that is not empty, or a crf that is out of range or
        does not apply.
    """
    suffix = path.suffix.lower()
    known = ", ".join(VIDEO_OUTPUT_SUFFIXES)
    if not path.name:
        raise UserError(f"cannot write frames to {path}: the folder is not empty; name one that is not there yet")
    if suffix and suffix not in VIDEO_OUTPUT_SUFFIXES:
        raise UserError(
            f"cannot write {path}: unknown video ending {path.suffix!r}; use one of {known}, or no ending for a folder"
        )
    if crf is not None and suffix not in CONTAINER_FORMATS:
        raise UserError(
            f"the quality (crf) is {crf}, but {path} has none; leave it out, or write {' or '.join(CONTAINER_FORMATS)}"
        )
    if crf is not None:
        least, most = CONTAINER_FORMATS[suffix].crf_range
        if not least <= crf <= most:
            raise UserError(f"the quality (crf) is {crf}; give {least} (best) to {most} for {suffix}")
    with os_errors_as_user_errors(path):
        if suffix or not path.exists():
            check_writable(path, "out.mp4")
        elif not path.is_dir():
            raise UserError(f"cannot write frames to {path}: it is a file; give a folder, or one of {known}")
        elif any(path.iterdir()):
            raise UserError(f"cannot write frames to {path}: the folder is not empty; empty it, or give another")


@contextmanager
def encoder_errors_as_user_errors(path: Path) -> Iterator[None]:
    """Re-raises errors of the file system and of FFmpeg inside the block as a UserError that names `path`."""
    try:
        with os_errors_as_user_errors(path):
            yield
    except av.FFmpegError as error:
        raise UserError(
            f"cannot write {path}: the encoder failed ({error.strerror}); choose another size or format"
        ) from error


def _open_sink(
    suffix: str, temporary: Path, video: VideoInfo, size: tuple[int, int], crf: int | None, segments: SegmentOptions
) -> FrameSink:
    if suffix in CONTAINER_FORMATS:
        return VideoFileSink(temporary, video, size, CONTAINER_FORMATS[suffix], crf, segments)
    return GifSink(temporary, size) if suffix == GIF else FrameFolderSink(temporary)


def _warn_about_limits(path: Path, video: VideoInfo, size: tuple[int, int]) -> None:
    """Warns of what the output format loses: streams, tags, pixel aspect ratio, compatibility with players."""
    suffix = path.suffix.lower()
    container_format = CONTAINER_FORMATS.get(suffix)
    dropped = dropped_extras(video.extras, container_format)
    if video.audio_streams and container_format is None:
        dropped.insert(0, "audio")
    if dropped:
        logging.warning("%s has no %s: that of %s is dropped", path, ", ".join(dropped), video.path)
    if video.pixel_aspect != 1 and (container_format is None or suffix == ".webm"):
        logging.warning("%s cannot store the pixel aspect ratio of %s: it will look stretched", path, video.path)
    if container_format is not None and pixel_format(container_format, size) != "yuv420p":
        logging.warning("%s is %dx%d: players that require even sides cannot show it", path, *size)
