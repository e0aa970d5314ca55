"""Segmented encoding: closed groups of frames whose packets can be stored and muxed later, to resume a long job."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.packet import PacketSideData, packet_sidedata_type_from_literal
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from msst_jax.video.io.color import RgbEncoder
from msst_jax.video.io.types import VideoInfo

LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
ALPHA_DATA: Final = "matroska_block_additional"  # of VP9: a second image, which holds the alpha channel

PackedPackets = Mapping[str, np.ndarray]
"""The encoded packets of a segment, in decoding order.

data: uint8, the packets one after the other; per packet size (int64, bytes), pts, dts, duration (int64, ticks of the
video's time base) and key (bool, whether it is a keyframe). With alpha also alpha (uint8, its encoded images one after
the other) and alpha_size (int64, bytes per packet).
"""


class SegmentOptions(NamedTuple):
    """How video files are encoded in segments.

    Attributes:
      frames: frames per segment.
      done: called with each finished segment, after it was written.
      place: folder of the unfinished file; None = beside the output.
    """

    frames: int = 64
    done: Callable[[PackedPackets], None] = lambda packed: None
    place: Path | None = None


DEFAULT_SEGMENTS = SegmentOptions()


class EncoderSettings(NamedTuple):
    """Settings of a video encoder.

    Attributes:
      encoder: FFmpeg's name.
      pixel_format: FFmpeg's name.
      options: private options of the encoder.
    """

    encoder: str
    pixel_format: str
    options: dict[str, str]


def configure_encoder(
    context: VideoCodecContext, settings: EncoderSettings, video: VideoInfo, size: tuple[int, int]
) -> None:
    """Sets pixel format, rate, time base, pixel aspect ratio and color tags of an encoder, and opens it.

    Args:
      context: a new encoder, standalone or of an output stream.
      settings: of the encoder; its options must have been set already.
      video: whose rate, time base, pixel aspect ratio and color tags are used.
      size: (width, height) of the frames.

    Raises:
      av.FFmpegError: the encoder does not support the settings or the size.
    """
    context.width, context.height = size
    context.pix_fmt = settings.pixel_format
    context.framerate = video.rate
    context.time_base = video.time_base
    context.thread_count = 0
    context.sample_aspect_ratio = video.pixel_aspect
    context.color_range = LIMITED_RANGE
    context.colorspace, context.color_primaries, context.color_trc = video.colors
    context.open()


class SegmentEncoder:
    """Encodes a video segment by segment; every segment starts with a keyframe of a new encoder."""

    def __init__(self, settings: EncoderSettings, video: VideoInfo, size: tuple[int, int]):
        """Takes the arguments of `configure_encoder`; encoders are opened with the first frame of a segment."""
        self._settings = settings
        self._video = video
        self._size = size
        self._from_rgb = RgbEncoder(settings.pixel_format, video.colors.matrix)
        self._context: VideoCodecContext | None = None

    def encode(self, image: np.ndarray, pts: int) -> Sequence[av.Packet]:
        """Encodes a frame; returns the packets that are ready.

        Args:
          image: uint8 (H, W, 3), RGB, or (H, W, 4) with alpha.
          pts: presentation timestamp in ticks of the video's time base.

        Raises:
          av.FFmpegError: the encoder cannot be opened, or fails.
        """
        if self._context is None:
            context = av.CodecContext.create(self._settings.encoder, "w")
            assert isinstance(context, VideoCodecContext)
            context.options = dict(self._settings.options)
            context.flags |= Flags.global_header
            configure_encoder(context, self._settings, self._video, self._size)
            self._context = context
        frame = self._from_rgb(image)
        frame.pts, frame.time_base = pts, self._video.time_base
        return self._context.encode(frame)

    def flush(self) -> Sequence[av.Packet]:
        """Ends the segment; returns its remaining packets."""
        packets = self._context.encode(None) if self._context is not None else []
        self._context = None
        return packets


def pack(packets: Sequence[av.Packet], durations: Mapping[int, int]) -> PackedPackets:
    """Packs the packets of a segment into arrays that can be saved.

    Args:
      packets: in decoding order.
      durations: ticks, by presentation timestamp.
    """
    timestamps = [packet.pts for packet in packets if packet.pts is not None]
    alphas = [bytes(packet.get_sidedata(ALPHA_DATA)) if packet.has_sidedata(ALPHA_DATA) else b"" for packet in packets]
    alpha: dict[str, np.ndarray] = {
        "alpha": np.frombuffer(b"".join(alphas), np.uint8),
        "alpha_size": np.array([len(data) for data in alphas], np.int64),
    }
    return {
        **(alpha if any(alphas) else dict[str, np.ndarray]()),
        "data": np.frombuffer(b"".join(map(bytes, packets)), np.uint8),
        "size": np.array([packet.size for packet in packets], np.int64),
        "pts": np.array(timestamps, np.int64),
        "dts": np.array([packet.dts for packet in packets], np.int64),
        "duration": np.array([durations[pts] for pts in timestamps], np.int64),
        "key": np.array([packet.is_keyframe for packet in packets], bool),
    }


def unpack(packed: PackedPackets, stream: VideoStream, time_base: Fraction) -> Iterator[av.Packet]:
    """Restores the packets of `pack` for an output stream; `time_base` is that of their timestamps, in seconds."""
    alphas = _split(packed["alpha"], packed["alpha_size"]) if "alpha" in packed else repeat(b"")
    for index, (data, alpha) in enumerate(zip(_split(packed["data"], packed["size"]), alphas, strict=False)):
        packet = av.Packet(data)
        packet.time_base = time_base
        packet.pts, packet.dts = int(packed["pts"][index]), int(packed["dts"][index])
        packet.duration = int(packed["duration"][index])
        packet.is_keyframe = bool(packed["key"][index])
        packet.stream = stream
        if alpha:
            side_data = PacketSideData(packet_sidedata_type_from_literal(ALPHA_DATA), len(alpha))  # type: ignore[call-arg]
            side_data.update(alpha)
            packet.set_sidedata(side_data)
        yield packet


def _split(data: np.ndarray, sizes: np.ndarray) -> Iterator[bytes]:
    content, offset = data.tobytes(), 0
    for size in sizes.tolist():
        yield content[offset : offset + size]
        offset += size
