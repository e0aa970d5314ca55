"""Frame sinks: encoded video files (MP4, QuickTime, Matroska, WebM), animated GIFs and folders of PNG frames."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from absl import logging
from av.filter import Graph
from av.video.stream import VideoStream
from PIL import Image

from msst_jax.video.io.extras import describe_output, is_default
from msst_jax.video.io.filtering import pull_frames
from msst_jax.video.io.formats import ALPHA_FORMAT, ContainerFormat, encoder_options, pixel_format
from msst_jax.video.io.mov_tracks import MUXERS, disable_tracks
from msst_jax.video.io.segments import (
    EncoderSettings,
    PackedPackets,
    SegmentEncoder,
    SegmentOptions,
    configure_encoder,
    pack,
    unpack,
)
from msst_jax.video.io.timestamps import TimestampQuantizer
from msst_jax.video.io.tracks import SideTracks
from msst_jax.video.io.types import Frame, VideoInfo

GIF_TIME_BASE = Fraction(1, 100)  # seconds
GIF_MIN_DELAY = 2  # ticks; browsers display a frame of less than 2/100 s for 10/100 s


class FrameSink(Protocol):
    """Writes frames, given in the order of their times.

    Except in `close`, errors of the file system (OSError) and of FFmpeg (av.FFmpegError) are passed on.

    Attributes:
      holds_alpha: whether the alpha channel of frames is written.
    """

    holds_alpha: bool

    def write(self, frame: Frame) -> None:
        """Appends a frame."""

    def finish(self, end: Fraction | None) -> None:
        """Writes all pending data, and the audio up to `end` in seconds; None = all of it."""

    def close(self) -> None:
        """Releases all resources, whether or not the output is finished; never raises."""


class VideoFileSink:
    """A video file, encoded in independent segments, with audio, subtitles and tags of the source; see `FrameSink`."""

    def __init__(
        self,
        file: Path,
        video: VideoInfo,
        size: tuple[int, int],
        container_format: ContainerFormat,
        crf: int | None,
        segments: SegmentOptions,
    ):
        """Opens the file.

        Args:
          file: the file to write.
          video: whose rate, time base, colors and audio are used.
          size: (width, height) of the frames.
          container_format: of the file.
          crf: constant rate factor; None = the default of the format.
          segments: how the video is encoded in segments.

        Raises:
          UserError: the source of the audio can no longer be read.
          OSError, av.FFmpegError: the file or the encoder cannot be opened.
        """
        self._file, self._muxer = file, container_format.muxer
        self._time_base = video.time_base
        self._quantizer = TimestampQuantizer(video.time_base)
        self._segments = segments
        self._frames = 0
        self._packets: list[av.Packet] = []
        pixels = pixel_format(container_format, size, video.has_alpha)
        settings = EncoderSettings(container_format.encoder, pixels, encoder_options(container_format, crf, pixels))
        self.holds_alpha = pixels == ALPHA_FORMAT
        self._encoder = SegmentEncoder(settings, video, size)
        self._container = av.open(
            f"file:{file}",
            "w",
            container_format.muxer,
            container_options=container_format.file_options(video.time_base),
        )
        stream = self._container.add_stream(container_format.encoder, rate=video.rate, options=dict(settings.options))
        assert isinstance(stream, VideoStream)
        configure_encoder(stream.codec_context, settings, video, size)
        self._stream = stream
        describe_output(video.extras, self._container, stream, container_format.tags, video.end)
        self._tracks = SideTracks(video, self._container, container_format)

    def write(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self._packets += self._encoder.encode(self._layers(frame), self._quantizer.quantize(frame))
        self._frames += 1
        if self._frames % self._segments.frames == 0:
            self._end_segment()

    def _layers(self, frame: Frame) -> np.ndarray:
        """uint8 (H, W, 3), or (H, W, 4) where the file has alpha."""
        if not self.holds_alpha:
            return frame.image
        return np.dstack([frame.image, np.full_like(frame.image[..., 0], 255) if frame.alpha is None else frame.alpha])

    def write_segment(self, packed: PackedPackets) -> None:
        """Muxes an encoded segment, of this run or an earlier one, interleaved with the audio."""
        self._quantizer.last = int(packed["pts"].max())
        packets = unpack(packed, self._stream, self._time_base)
        for dts, packet in zip(packed["dts"].tolist(), packets, strict=True):
            self._container.mux(packet)
            self._tracks.write_until(dts * self._time_base)

    def _end_segment(self) -> None:
        """Muxes only whole segments, so that the file does not depend on where an earlier run was interrupted."""
        self._packets += self._encoder.flush()
        packed = pack(self._packets, self._quantizer.durations)
        self._packets = []
        self._quantizer.durations.clear()
        self.write_segment(packed)
        self._segments.done(packed)

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`."""
        if self._frames % self._segments.frames:
            self._end_segment()
        self._tracks.finish(end)
        hidden = [stream.index for stream in self._container.streams.subtitles if not is_default(stream)]
        self._container.close()
        if self._muxer in MUXERS:
            disable_tracks(self._file, hidden)

    def close(self) -> None:
        """See `FrameSink`."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._tracks.close()


class GifSink:
    """A GIF that loops forever, with a palette of 256 colors per frame; see `FrameSink`."""

    holds_alpha = False

    def __init__(self, file: Path, size: tuple[int, int]):
        """Opens the file for frames of size (width, height).

        Raises:
          OSError, av.FFmpegError: the file or the encoder cannot be opened.
        """
        self._quantizer = TimestampQuantizer(GIF_TIME_BASE)
        self._dropped = 0
        self._palette_graph = _build_palette_graph(size)
        self._container = av.open(f"file:{file}", "w")
        stream = self._container.add_stream("gif", rate=1 / GIF_TIME_BASE, time_base=GIF_TIME_BASE)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "pal8"
        self._stream = stream

    def write(self, frame: Frame) -> None:
        """See `FrameSink`; drops a frame less than GIF_MIN_DELAY after the previous one."""
        last = self._quantizer.last
        if last >= 0 and round(frame.time / GIF_TIME_BASE) - last < GIF_MIN_DELAY:
            self._dropped += 1
            return
        rgb_frame = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        rgb_frame.pts, rgb_frame.time_base = self._quantizer.quantize(frame), GIF_TIME_BASE
        self._palette_graph.push(rgb_frame)
        self._encode_ready()

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`; a GIF has no audio."""
        self._palette_graph.push(None)
        self._encode_ready()
        self._encode(None)
        self._container.close()
        if self._dropped:
            logging.warning("%d frames were dropped: a GIF has at most 50 per second", self._dropped)

    def close(self) -> None:
        """See `FrameSink`."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _encode_ready(self) -> None:
        for frame in pull_frames(self._palette_graph):
            self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._quantizer.durations.pop(packet.pts, 0) if packet.pts is not None else 0
            self._container.mux(packet)


def _build_palette_graph(size: tuple[int, int]) -> Graph:
    """A filter graph from RGB frames of size (width, height) to frames with an optimal palette each."""
    graph = Graph()
    width, height = size
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=GIF_TIME_BASE)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", "stats_mode=single")
    # Ordered dithering is stable from frame to frame; error diffusion would flicker.
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


class FrameFolderSink:
    """A folder of PNGs named as the frames of the source, or 000001.png, ..., RGBA where one is transparent.

    See `FrameSink`.
    """

    holds_alpha = True

    def __init__(self, folder: Path):
        """Takes an existing folder."""
        self._folder = folder
        self._frames = 0

    def write(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self._frames += 1
        layers = frame.image
        if frame.alpha is not None and frame.alpha.min() < 255:
            layers = np.dstack([layers, frame.alpha])
        Image.fromarray(layers).save(self._folder / f"{frame.name or f'{self._frames:06d}'}.png")

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`; every frame is written already."""

    def close(self) -> None:
        """See `FrameSink`."""
