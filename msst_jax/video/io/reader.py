"""Clips in: any video file that FFmpeg can read, or a folder of numbered pictures."""

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
from msst_jax.video.io.color import HDR, Orientation, RgbDecoder, infer_matrix
from msst_jax.video.io.frame_folder import DEFAULT_RATE, FrameFolder
from msst_jax.video.io.timestamps import TimestampNormalizer
from msst_jax.video.io.types import MAX_RATE, AudioInfo, ColorTags, Frame, VideoInfo, VideoSource

# What a file names must not be fetched from elsewhere; and FFmpeg shows text files as video.
PROTOCOLS = {"protocol_whitelist": "file"}
TEXT = "tty"
# VP8 and VP9 keep alpha as a second picture, which FFmpeg's own decoders leave out.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def open_video(path: str | Path, rate: Fraction = DEFAULT_RATE) -> VideoSource:
    """A clip from a video file, or from a folder of pictures in the order of the numbers in their names.

    Frames are 8-bit RGB, turned as the file says; what is transparent is black. Of 10-bit and HDR clips the numbers are
    kept, scaled to 8 bits (`ClipInfo.colours` says what they mean).

    Args:
      path: the file or folder.
      rate: frames a second of a folder; files have their own.

    Raises:
      UserError: nothing there, no video in it, a codec that is not known, not one frame that can be decoded, or a rate
        that is not above 0 and up to MAX_RATE.
    """
    path = Path(path).expanduser()
    # Path.is_dir would raise for a name that is too long.
    return FrameFolder(path, rate) if os.path.isdir(path) else VideoFile(path)


class VideoFile:
    """A video file; see `VideoSource`."""

    def __init__(self, path: Path):
        """Decodes the first frame, which tells what the file does not.

        Raises:
          UserError: as `open_video`.
        """
        with open_container(path) as container:
            stream = _video_stream(container, path)
            first = next(_decode_frames(container, stream, _DecodeStats()), None)
            if first is None:
                raise UserError(f"video {path} has no frame that can be decoded; give another copy")
            self._orientation = Orientation(cast(bytes | None, first.side_data.get("DISPLAYMATRIX")))
            self._stored_size = (first.width, first.height)
            self._clock = _timestamp_normalizer(stream, first)
            self.info = _describe(path, container, stream, first, self._orientation, self._clock)
        if self.info.colors.transfer in HDR:
            curve = HDR[self.info.colors.transfer]
            logging.warning("video %s is HDR (%s): its colours are used as they are stored, which is pale", path, curve)

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`."""
        tally = _DecodeStats()
        last: _FrameTiming | None = None
        to_rgb = RgbDecoder(*self._stored_size, self.info.colors.matrix)
        with open_container(self.info.path) as container:
            stream = _video_stream(container, self.info.path)
            for picture in _decode_frames(container, stream, tally):
                last = self._moment(picture, last)
                yield Frame(self._orientation.turn(to_rgb(picture)), last.time, last.duration)
        _warn_if_incomplete(self.info, tally, last.time + last.duration if last else Fraction(0))

    def _moment(self, picture: av.VideoFrame, last: "_FrameTiming | None") -> "_FrameTiming":
        """When a frame appears; one without a time stamp, or with one not after the last frame's, follows that."""
        duration = self._clock.duration(picture.duration)
        if picture.pts is not None:
            time = self._clock.time(picture.pts) - self.info.start
            if last is None or time > last.time:
                return _FrameTiming(time, duration)
        return _FrameTiming(last.time + last.duration if last else Fraction(0), duration)


class _FrameTiming(NamedTuple):
    time: Fraction
    duration: Fraction


@dataclass
class _DecodeStats:
    """How much of a file could be decoded: frames, those of them with faults, and errors."""

    frames: int = 0
    faulty: int = 0
    errors: int = 0


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The container of a file, until the block ends.

    Raises:
      UserError: it cannot be read.
    """
    try:
        # A name such as "a:b.mp4" would be taken for an address without "file:".
        container = av.open(f"file:{path}", "r", container_options=PROTOCOLS, metadata_errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"video {path} does not exist; check the name") from error
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        found = "is empty" if path.stat().st_size == 0 else "is no video that can be read, or is damaged"
        raise UserError(f"video {path} {found}; give another copy") from error
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"video {path} cannot be read ({error.strerror}); give another file") from error
    with container:
        yield container


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream that players show.

    Raises:
      UserError: there is none (covers of music are no video), or its codec is not known.
    """
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving or container.format.name == TEXT:
        found = "only sound" if container.streams.audio else "nothing that moves"
        raise UserError(f"{path} has no video, {found}; give a video file")
    best = container.streams.best("video")
    stream = next((stream for stream in moving if best and stream.index == best.index), moving[0])
    if stream.codec_context is None:
        raise UserError(f"video {path} is in a codec that is not known; convert it to H.264 first")
    return stream


def _decode_frames(container: InputContainer, stream: VideoStream, tally: _DecodeStats) -> Iterator[av.VideoFrame]:
    """Everything that can be decoded; errors are counted and passed over."""
    decode = _decoder(stream)
    for packet in _packets(container, stream, tally):
        try:
            pictures = decode(packet)
        except av.FFmpegError:
            tally.errors += 1
            continue
        for picture in pictures:
            tally.frames += 1
            tally.faulty += picture.is_corrupt
            yield picture


def _packets(container: InputContainer, stream: VideoStream, tally: _DecodeStats) -> Iterator[av.Packet | None]:
    """What can be read of a stream; the last, empty or None, makes the decoder give all that it still has."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, OSError):
        tally.errors += 1
        yield None


def _decoder(stream: VideoStream) -> Callable[[av.Packet | None], list[av.VideoFrame]]:
    codec = stream.codec_context.codec.canonical_name
    with_alpha = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if not with_alpha or ALPHA_DECODERS.get(codec) not in av.codecs_available:
        return stream.codec_context.decode
    decoder = cast(VideoCodecContext, av.CodecContext.create(ALPHA_DECODERS[codec], "r"))
    decoder.extradata = stream.codec_context.extradata
    return decoder.decode


def _timestamp_normalizer(stream: VideoStream, first: av.VideoFrame) -> TimestampNormalizer:
    tick = stream.time_base or Fraction(1, 90_000)
    rates = (stream.average_rate, 1 / (first.duration * tick) if first.duration > 0 else None, stream.guessed_rate)
    # H.264 may state its clock for its rate; no frame is shorter than what the file can tell apart.
    rate = next((rate for rate in rates if rate and 0 < rate <= MAX_RATE and rate * tick <= 1), DEFAULT_RATE)
    return TimestampNormalizer(tick, rate, first.pts or 0, constant=rate == stream.average_rate == stream.base_rate)


def _describe(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    first: av.VideoFrame,
    orientation: Orientation,
    clock: TimestampNormalizer,
) -> VideoInfo:
    sounds = [sound for sound in container.streams.audio if sound.codec_context is not None]
    starts = [sound.start_time * (sound.time_base or 0) for sound in sounds if sound.start_time is not None]
    start = min([*starts, clock.time(first.pts or 0)]) // clock.time_base * clock.time_base
    width, height = orientation.size(first.width, first.height)
    duration = _duration(container, stream, start)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        rate=1 / clock.period,
        time_base=clock.time_base,
        duration=duration,
        frames=_frames(stream, duration, 1 / clock.period),
        pixel_aspect=orientation.aspect(stream.sample_aspect_ratio or Fraction(1)),
        colors=ColorTags(
            infer_matrix(first.colorspace, first.width, first.height), first.color_primaries, first.color_trc
        ),
        audio_streams=tuple(map(_audio_info, sounds)),
        start=start,
    )


def _frames(stream: VideoStream, duration: Fraction | None, rate: Fraction) -> int | None:
    """How many frames are shown: the edit list of an MP4 may hide some of those that are stored."""
    return min(stream.frames, max(1, round(duration * rate))) if duration and stream.frames else stream.frames or None


def _audio_info(stream: AudioStream) -> AudioInfo:
    return AudioInfo(stream.index, stream.codec_context.codec.canonical_name, stream.sample_rate, stream.channels)


def _duration(container: InputContainer, stream: VideoStream, start: Fraction) -> Fraction | None:
    """Seconds of the video alone: sound may be longer."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    for key, value in stream.metadata.items():
        if key.startswith("DURATION"):  # of Matroska and WebM: when it ends, as 00:00:01.200000000
            try:
                hours, minutes, seconds = value.split(":")
                return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - start
            except ValueError:
                break
    return Fraction(container.duration, av.time_base) if container.duration and len(container.streams) == 1 else None


def _warn_if_incomplete(info: VideoInfo, tally: _DecodeStats, end: Fraction) -> None:
    """A warning if frames were lost, which a file that is cut short does not tell in any other way."""
    short = info.duration is not None and info.duration - end > 2 / info.rate
    if not (short or tally.errors or tally.faulty):
        return
    total = f" of {info.frames}" if info.frames and info.frames >= tally.frames else ""
    of_seconds = f" of {float(info.duration):.2f}" if info.duration is not None else ""
    faulty = f", {tally.faulty} of them with faults" if tally.faulty else ""
    logging.warning(
        "video %s is damaged or cut short: %d%s frames could be read, to %.2f%s seconds%s",
        info.path,
        tally.frames,
        total,
        float(end),
        of_seconds,
        faulty,
    )
