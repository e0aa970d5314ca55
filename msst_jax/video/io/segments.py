"""Frames encoded piece by piece: every segment stands alone, so that what is done survives what comes later."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from msst_jax.video.io.color import RgbEncoder
from msst_jax.video.io.types import VideoInfo

LIMITED_RANGE = 1

PackedPackets = Mapping[str, np.ndarray]
"""The packets of a segment: data, one after the other, and for each its size, pts, dts, duration and key."""


class EncoderSettings(NamedTuple):
    """How frames are encoded.

    Attributes:
      encoder: by FFmpeg's name.
      form: pixel format.
      options: of the encoder.
    """

    encoder: str
    form: str
    options: dict[str, str]


def configure_encoder(
    context: VideoCodecContext, coding: EncoderSettings, clip: VideoInfo, size: tuple[int, int]
) -> None:
    """Gives an encoder, or the stream of a container, the properties of a clip, and opens it."""
    context.width, context.height = size
    context.pix_fmt = coding.form
    context.framerate = clip.rate
    context.time_base = clip.time_base
    context.thread_count = 0
    context.sample_aspect_ratio = clip.pixel_aspect
    context.color_range = LIMITED_RANGE
    context.colorspace, context.color_primaries, context.color_trc = clip.colors
    context.open()


class SegmentEncoder:
    """Encodes frames of one segment after the other; every segment begins with a frame that needs no other."""

    def __init__(self, coding: EncoderSettings, clip: VideoInfo, size: tuple[int, int]):
        """Opens nothing yet."""
        self._coding = coding
        self._clip = clip
        self._size = size
        self._from_rgb = RgbEncoder(coding.form, clip.colors.matrix)
        self._context: VideoCodecContext | None = None

    def encode(self, image: np.ndarray, stamp: int) -> Sequence[av.Packet]:
        """Adds uint8 (H, W, 3) at a time in time bases of the clip; gives what is ready."""
        if self._context is None:
            context = av.CodecContext.create(self._coding.encoder, "w")
            assert isinstance(context, VideoCodecContext)
            context.options = dict(self._coding.options)
            context.flags |= Flags.global_header
            configure_encoder(context, self._coding, self._clip, self._size)
            self._context = context
        picture = self._from_rgb(image)
        picture.pts, picture.time_base = stamp, self._clip.time_base
        return self._context.encode(picture)

    def end(self) -> Sequence[av.Packet]:
        """Ends the segment; gives what was left."""
        packets = self._context.encode(None) if self._context is not None else []
        self._context = None
        return packets


def pack(packets: Sequence[av.Packet], durations: Mapping[int, int]) -> PackedPackets:
    """Packets as arrays that can be kept in a file; `durations` by the times at which frames begin."""
    begins = [packet.pts for packet in packets if packet.pts is not None]
    return {
        "data": np.frombuffer(b"".join(map(bytes, packets)), np.uint8),
        "size": np.array([packet.size for packet in packets], np.int64),
        "pts": np.array(begins, np.int64),
        "dts": np.array([packet.dts for packet in packets], np.int64),
        "duration": np.array([durations[begin] for begin in begins], np.int64),
        "key": np.array([packet.is_keyframe for packet in packets], bool),
    }


def unpack(packed: PackedPackets, stream: VideoStream, time_base: Fraction) -> Iterator[av.Packet]:
    """The packets again, for a stream."""
    data, begin = packed["data"].tobytes(), 0
    for number, size in enumerate(packed["size"].tolist()):
        packet = av.Packet(data[begin : begin + size])
        packet.time_base = time_base
        packet.pts, packet.dts = int(packed["pts"][number]), int(packed["dts"][number])
        packet.duration = int(packed["duration"][number])
        packet.is_keyframe = bool(packed["key"][number])
        packet.stream = stream
        begin += size
        yield packet


class SegmentOptions(NamedTuple):
    """How a clip is cut: after so many frames, who is told of each part, and where the unfinished file lies."""

    frames: int = 64
    done: Callable[[PackedPackets], None] = lambda packed: None
    place: Path | None = None
    """None = beside the output."""


DEFAULT_SEGMENTS = SegmentOptions()
