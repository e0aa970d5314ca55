"""Decoding with FFmpeg: opens a media file, chooses its video stream, and decodes what can be decoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from msst_jax.errors import UserError
from msst_jax.io.files import check_regular_file

# Playlists and reference files must not make FFmpeg open network addresses.
DEMUXER_OPTIONS = {"protocol_whitelist": "file"}
# FFmpeg's demuxer that renders text files as video.
TEXT_DEMUXER = "tty"
# VP8 and VP9 store alpha as a second image, which FFmpeg's native decoders ignore.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class DecodeStats:
    """Counts of decoded frames, of those of them that are corrupt, and of read and decode errors."""

    frames: int = 0
    corrupt: int = 0
    errors: int = 0


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Opens a media file for the duration of the block.

    Raises:
      UserError: missing, empty, unreadable, not a regular file, or not a media file.
    """
    check_regular_file(path, "video")
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


def select_video_stream(container: InputContainer, path: Path) -> VideoStream:
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


def read_packets(path: Path) -> Iterator[av.Packet]:
    """The packets of the video stream of a file, up to the first read error, without decoding.

    Raises:
      UserError: as `open_container` and `select_video_stream`.
    """
    with open_container(path) as container:
        try:
            yield from container.demux(select_video_stream(container, path))
        except (av.FFmpegError, OSError):
            return  # the reader of the frames logs a warning


def count_packets(path: Path) -> int:
    """The number of frames of a file that does not say it, if none of them is damaged."""
    return sum(packet.size > 0 and not packet.is_discard for packet in read_packets(path))


def decode_frames(container: InputContainer, stream: VideoStream, stats: DecodeStats) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; errors are counted and skipped.

    Not with FFmpeg's frame threads: it does not conceal errors with them, so that the pixels of a damaged file would be
    others, and others each time, without an error at which one could fall back.
    """
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


def _demux(container: InputContainer, stream: VideoStream, stats: DecodeStats) -> Iterator[av.Packet | None]:
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
