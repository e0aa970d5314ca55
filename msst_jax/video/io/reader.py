"""Video reading: any file that FFmpeg can decode, or a folder of numbered images, as RGB frames with exact times."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
from absl import logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from msst_jax.errors import UserError
from msst_jax.video.io.animation import Animation, read_by_pillow
from msst_jax.video.io.color import BT709_TAGS, WHITE, Orientation, RgbDecoder, has_alpha, infer_matrix
from msst_jax.video.io.decoding import DecodeStats, decode_frames, open_container, select_video_stream
from msst_jax.video.io.deinterlacing import deinterlace
from msst_jax.video.io.extras import read_extras
from msst_jax.video.io.frame_folder import DEFAULT_RATE, FrameFolder
from msst_jax.video.io.part import cut_info, find_start, seek_before
from msst_jax.video.io.timestamps import TimestampNormalizer
from msst_jax.video.io.tone_mapping import HDR_TRANSFERS
from msst_jax.video.io.types import MAX_RATE, WHOLE, AudioInfo, ColorTags, Frame, Part, VideoInfo, VideoSource


def open_video(
    path: str | Path, rate: Fraction = DEFAULT_RATE, part: Part = WHOLE, backdrop: str = WHITE
) -> VideoSource:
    """Opens a video file, or a folder of images as a video in the order of the numbers in their names.

    Frames are 8-bit RGB (`VideoInfo.colors` says how to interpret it), rotated as the file declares, with transparency
    composited over a backdrop; HDR videos are tone-mapped to SDR, interlaced frames are deinterlaced.

    Args:
      path: the file or folder.
      rate: frames per second of a folder, above 0 and up to MAX_RATE; files have their own.
      part: what of it is read; it begins with the first frame at or after its start, at time 0.
      backdrop: the color behind transparent pixels, see `BACKDROPS`.

    Raises:
      UserError: nothing at `path`, no video stream, an unknown codec, not a single decodable frame, a rate out of
        range, or a part without frames.
    """
    path = Path(path).expanduser()
    # Path.is_dir would raise for a name that is too long.
    if os.path.isdir(path):
        return FrameFolder(path, rate, part, backdrop)
    return Animation(path, part, backdrop) if read_by_pillow(path) else VideoFile(path, part, backdrop)


class VideoFile:
    """A video file; see `VideoSource`."""

    def __init__(self, path: Path, part: Part = WHOLE, backdrop: str = WHITE):
        """Decodes the first frame, for properties that the container may not store (size, rotation, color tags).

        Raises:
          UserError: see `open_video`.
        """
        self._backdrop = backdrop
        with open_container(path) as container:
            stream = select_video_stream(container, path)
            first = next(decode_frames(container, stream, DecodeStats()), None)
            if first is None:
                raise UserError(f"video {path} has no frame that can be decoded; give another copy")
            self._orientation = Orientation(cast(bytes | None, first.side_data.get("DISPLAYMATRIX")))
            self._stored_size = (first.width, first.height)
            self._stored_colors = _color_tags(first)
            self._timestamps = _timestamp_normalizer(stream, first)
            whole = _video_info(path, container, stream, first, self._orientation, self._timestamps)
        self.info = cut_info(whole, part, find_start(whole, part, self._timestamps))
        transfer = HDR_TRANSFERS.get(self._stored_colors.transfer)
        if transfer is not None:
            logging.warning("video %s is HDR (%s): it is tone-mapped to SDR (BT.709)", path, transfer)

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`."""
        stats = DecodeStats()
        last: _FrameTiming | None = None
        to_rgb = RgbDecoder(*self._stored_size, self._stored_colors, self._backdrop)
        with open_container(self.info.path) as container:
            stream = select_video_stream(container, self.info.path)
            if self.info.part.start:
                seek_before(container, self.info.start)
            for decoded, picture in deinterlace(decode_frames(container, stream, stats), self.info.path):
                last = self._frame_timing(decoded, last)
                if last.time < 0:  # before the part
                    continue
                if self.info.end is not None and last.time >= self.info.end:
                    return
                image, alpha = to_rgb(picture)
                alpha = self._orientation.apply(alpha) if alpha is not None and self.info.has_alpha else None
                yield Frame(self._orientation.apply(image), last.time, last.duration, alpha)
        _warn_if_incomplete(self.info, stats, last.time + last.duration if last else Fraction(0))

    def _frame_timing(self, decoded: av.VideoFrame, last: "_FrameTiming | None") -> "_FrameTiming":
        """Time and duration; a frame whose timestamp is missing or not increasing directly follows the last one."""
        duration = self._timestamps.duration(decoded.duration)
        if decoded.pts is not None:
            time = self._timestamps.time(decoded.pts) - self.info.start
            if last is None or time > last.time:
                return _FrameTiming(time, duration)
        return _FrameTiming(last.time + last.duration if last else -self.info.part.start, duration)


class _FrameTiming(NamedTuple):
    time: Fraction
    duration: Fraction


def _timestamp_normalizer(stream: VideoStream, first: av.VideoFrame) -> TimestampNormalizer:
    tick = stream.time_base or Fraction(1, 90_000)
    rates = (stream.average_rate, 1 / (first.duration * tick) if first.duration > 0 else None, stream.guessed_rate)
    # H.264 may report its clock as the frame rate; no frame is shorter than one tick of the file.
    rate = next((rate for rate in rates if rate and 0 < rate <= MAX_RATE and rate * tick <= 1), DEFAULT_RATE)
    return TimestampNormalizer(tick, rate, first.pts or 0, constant=rate == stream.average_rate == stream.base_rate)


def _video_info(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    first: av.VideoFrame,
    orientation: Orientation,
    timestamps: TimestampNormalizer,
) -> VideoInfo:
    audio_streams = [audio for audio in container.streams.audio if audio.codec_context is not None]
    starts = [audio.start_time * (audio.time_base or 0) for audio in audio_streams if audio.start_time is not None]
    start = min([*starts, timestamps.time(first.pts or 0)]) // timestamps.time_base * timestamps.time_base
    width, height = orientation.size(first.width, first.height)
    duration = _video_duration(container, stream, start)
    frames = _frame_count(stream, duration, 1 / timestamps.period)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rate=1 / timestamps.period,
        time_base=timestamps.time_base,
        duration=duration,
        frames=frames,
        source_frames=frames,
        has_alpha=_declares_alpha(stream, first),
        pixel_aspect=orientation.pixel_aspect(stream.sample_aspect_ratio or Fraction(1)),
        colors=BT709_TAGS if first.color_trc in HDR_TRANSFERS else _color_tags(first),
        audio_streams=tuple(map(_audio_info, audio_streams)),
        start=start,
        extras=read_extras(container, stream, start),
    )


def _color_tags(first: av.VideoFrame) -> ColorTags:
    matrix = infer_matrix(first.colorspace, first.width, first.height)
    return ColorTags(matrix, first.color_primaries, first.color_trc)


def _declares_alpha(stream: VideoStream, first: av.VideoFrame) -> bool:
    """Whether a video has transparency; a GIF is always decoded with alpha, so that its first frame decides."""
    if first.format.has_palette or stream.codec_context.name == "gif":
        return bool(first.to_ndarray(format="rgba")[..., 3].min() < 255)
    return has_alpha(first)


def _frame_count(stream: VideoStream, duration: Fraction | None, rate: Fraction) -> int | None:
    """Number of frames shown: the edit list of an MP4 may hide some of the stored ones. None if unknown."""
    return min(stream.frames, max(1, round(duration * rate))) if duration and stream.frames else stream.frames or None


def _audio_info(stream: AudioStream) -> AudioInfo:
    return AudioInfo(stream.index, stream.codec_context.codec.canonical_name, stream.sample_rate, stream.channels)


def _video_duration(container: InputContainer, stream: VideoStream, start: Fraction) -> Fraction | None:
    """Seconds of the video stream alone (audio may be longer), None if unknown."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    for key, value in stream.metadata.items():
        if key.startswith("DURATION"):  # Matroska and WebM: when the stream ends, as 00:00:01.200000000
            try:
                hours, minutes, seconds = value.split(":")
                return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - start
            except ValueError:
                break
    return Fraction(container.duration, av.time_base) if container.duration and len(container.streams) == 1 else None


def _warn_if_incomplete(info: VideoInfo, stats: DecodeStats, end: Fraction) -> None:
    """Warns if frames were lost; FFmpeg raises no error for a truncated file.

    Args:
      info: the properties that the file declares.
      stats: of the decoded frames.
      end: seconds at which the last frame ends.
    """
    short = info.duration is not None and info.duration - end > 2 / info.rate
    if not (short or stats.errors or stats.corrupt):
        return
    total = f" of {info.frames}" if info.frames and info.frames >= stats.frames else ""
    of_seconds = f" of {float(info.duration):.2f}" if info.duration is not None else ""
    corrupt = f", {stats.corrupt} of them corrupt" if stats.corrupt else ""
    logging.warning(
        "video %s is damaged or cut short: %d%s frames could be read, to %.2f%s seconds%s",
        info.path,
        stats.frames,
        total,
        float(end),
        of_seconds,
        corrupt,
    )
