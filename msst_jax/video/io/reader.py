"""Video reading: any file that FFmpeg can decode, or a folder of numbered images, as RGB frames with exact times."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
from absl import logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from msst_jax.errors import UserError
from msst_jax.video.io.animation import Animation, read_by_pillow
from msst_jax.video.io.color import HDR_TRANSFERS, Orientation, RgbDecoder, infer_matrix
from msst_jax.video.io.frame_folder import DEFAULT_RATE, FrameFolder
from msst_jax.video.io.timestamps import TimestampNormalizer
from msst_jax.video.io.types import MAX_RATE, AudioInfo, ColorTags, Frame, VideoInfo, VideoSource

# Playlists and reference files must not make FFmpeg open network addresses.
DEMUXER_OPTIONS = {"protocol_whitelist": "file"}
# FFmpeg's demuxer that renders text files as video.
TEXT_DEMUXER = "tty"
# VP8 and VP9 store alpha as a second image, which FFmpeg's native decoders ignore.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def open_video(path: str | Path, rate: Fraction = DEFAULT_RATE) -> VideoSource:
    """Opens a video file, or a folder of images as a video in the order of the numbers in their names.

    Frames are 8-bit RGB, rotated as the file declares, with transparency composited over black. 10-bit and HDR videos
    are scaled to 8 bits without tone mapping (`VideoInfo.colors` says how to interpret the values).

    Args:
      path: the file or folder.
      rate: frames per second of a folder, above 0 and up to MAX_RATE; files have their own.

    Raises:
      UserError: nothing at `path`, no video stream, an unknown codec, not a single decodable frame, or a rate out of
        range.
    """
    path = Path(path).expanduser()
    # Path.is_dir would raise for a name that is too long.
    if os.path.isdir(path):
        return FrameFolder(path, rate)
    return Animation(path) if read_by_pillow(path) else VideoFile(path)


class VideoFile:
    """A video file; see `VideoSource`."""

    def __init__(self, path: Path):
        """Decodes the first frame, for properties that the container may not store (size, rotation, color tags).

        Raises:
          UserError: see `open_video`.
        """
        with open_container(path) as container:
            stream = _select_video_stream(container, path)
            first = next(_decode_frames(container, stream, _DecodeStats()), None)
            if first is None:
                raise UserError(f"video {path} has no frame that can be decoded; give another copy")
            self._orientation = Orientation(cast(bytes | None, first.side_data.get("DISPLAYMATRIX")))
            self._stored_size = (first.width, first.height)
            self._timestamps = _timestamp_normalizer(stream, first)
            self.info = _video_info(path, container, stream, first, self._orientation, self._timestamps)
        transfer = HDR_TRANSFERS.get(self.info.colors.transfer)
        if transfer is not None:
            logging.warning("video %s is HDR (%s): it is not tone-mapped, and colors look washed out", path, transfer)

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`."""
        stats = _DecodeStats()
        last: _FrameTiming | None = None
        to_rgb = RgbDecoder(*self._stored_size, self.info.colors.matrix)
        with open_container(self.info.path) as container:
            stream = _select_video_stream(container, self.info.path)
            for decoded in _decode_frames(container, stream, stats):
                last = self._frame_timing(decoded, last)
                yield Frame(self._orientation.apply(to_rgb(decoded)), last.time, last.duration)
        _warn_if_incomplete(self.info, stats, last.time + last.duration if last else Fraction(0))

    def _frame_timing(self, decoded: av.VideoFrame, last: "_FrameTiming | None") -> "_FrameTiming":
        """Time and duration; a frame whose timestamp is missing or not increasing directly follows the last one."""
        duration = self._timestamps.duration(decoded.duration)
        if decoded.pts is not None:
            time = self._timestamps.time(decoded.pts) - self.info.start
            if last is None or time > last.time:
                return _FrameTiming(time, duration)
        return _FrameTiming(last.time + last.duration if last else Fraction(0), duration)


class _FrameTiming(NamedTuple):
    time: Fraction
    duration: Fraction


@dataclass
class _DecodeStats:
    """Counts of decoded frames, of those of them that are corrupt, and of read and decode errors."""

    frames: int = 0
    corrupt: int = 0
    errors: int = 0


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Opens a media file for the duration of the block.

    Raises:
      UserError: missing, empty, unreadable, or not a media file.
    """
    try:
        # Without "file:", a name such as "a:b.mp4" would be taken for a URL.
        container = av.open(f"file:{path}", "r", container_options=DEMUXER_OPTIONS, metadata_errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"video {path} does not exist; check the name") from error
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        problem = "is empty" if path.stat().st_size == 0 else "is no video that can be read, or is damaged"
        raise UserError(f"video {path} {problem}; give another copy") from error
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"video {path} cannot be read ({error.strerror}); give another file") from error
    with container:
        yield container


def _select_video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream that players show; cover art of audio files does not count.

    Raises:
      UserError: no such stream, or its codec is unknown.
    """
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates or container.format.name == TEXT_DEMUXER:
        found = "only sound" if container.streams.audio else "nothing that moves"
        raise UserError(f"{path} has no video, {found}; give a video file")
    best = container.streams.best("video")
    stream = next((stream for stream in candidates if best and stream.index == best.index), candidates[0])
    if stream.codec_context is None:
        raise UserError(f"video {path} is in a codec that is not known; convert it to H.264 first")
    return stream


def _decode_frames(container: InputContainer, stream: VideoStream, stats: _DecodeStats) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; errors are counted and skipped."""
    decode = _decoder(stream)
    for packet in _demux(container, stream, stats):
        try:
            frames = decode(packet)
        except av.FFmpegError:
            stats.errors += 1
            continue
        for frame in frames:
            stats.frames += 1
            stats.corrupt += frame.is_corrupt
            yield frame


def _demux(container: InputContainer, stream: VideoStream, stats: _DecodeStats) -> Iterator[av.Packet | None]:
    """Packets of a stream up to the first read error; the last one, empty or None, flushes the decoder."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, OSError):
        stats.errors += 1
        yield None


def _decoder(stream: VideoStream) -> Callable[[av.Packet | None], list[av.VideoFrame]]:
    codec = stream.codec_context.codec.canonical_name
    has_alpha = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if not has_alpha or ALPHA_DECODERS.get(codec) not in av.codecs_available:
        return stream.codec_context.decode
    decoder = cast(VideoCodecContext, av.CodecContext.create(ALPHA_DECODERS[codec], "r"))
    decoder.extradata = stream.codec_context.extradata
    return decoder.decode


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
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rate=1 / timestamps.period,
        time_base=timestamps.time_base,
        duration=duration,
        frames=_frame_count(stream, duration, 1 / timestamps.period),
        pixel_aspect=orientation.pixel_aspect(stream.sample_aspect_ratio or Fraction(1)),
        colors=ColorTags(
            infer_matrix(first.colorspace, first.width, first.height), first.color_primaries, first.color_trc
        ),
        audio_streams=tuple(map(_audio_info, audio_streams)),
        start=start,
    )


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


def _warn_if_incomplete(info: VideoInfo, stats: _DecodeStats, end: Fraction) -> None:
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
