"""Where the frames of a clip go: an encoder and its container, a GIF, or a folder of pictures."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
from absl import logging
from av.filter import Graph
from av.video.stream import VideoStream
from PIL import Image

from msst_jax.video.io.audio import AudioTracks
from msst_jax.video.io.formats import ContainerFormat, pixel_format
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
from msst_jax.video.io.types import Frame, VideoInfo

GIF_TICK = Fraction(1, 100)
GIF_SHORTEST = 2  # browsers show a frame of less than 2/100 s for 10/100 s


class FrameSink(Protocol):
    """Takes frames in the order of their times. Errors are those of the file system and of FFmpeg."""

    def write(self, frame: Frame) -> None:
        """Adds a frame."""

    def finish(self, end: Fraction | None) -> None:
        """Writes what is left, and the sound up to `end`; None = all of it."""

    def close(self) -> None:
        """Frees everything, whether it is finished or not; raises nothing."""


class VideoFileSink:
    """An MP4 or WebM file with the sound of a clip, in segments that stand alone; see `FrameSink`."""

    def __init__(
        self,
        file: Path,
        clip: VideoInfo,
        size: tuple[int, int],
        kind: ContainerFormat,
        crf: int | None,
        segments: SegmentOptions,
    ):
        """Opens the file; arguments as `video_writer`."""
        self._time_base = clip.time_base
        self._stamps = TimestampQuantizer(clip.time_base)
        self._segments = segments
        self._frames = 0
        self._packets: list[av.Packet] = []
        coding = EncoderSettings(
            kind.encoder, pixel_format(kind, size), {**kind.options, "crf": str(kind.crf if crf is None else crf)}
        )
        self._encoder = SegmentEncoder(coding, clip, size)
        self.container = av.open(f"file:{file}", "w", container_options=kind.file_options(clip.time_base))
        stream = self.container.add_stream(kind.encoder, rate=clip.rate, options=dict(coding.options))
        assert isinstance(stream, VideoStream)
        configure_encoder(stream.codec_context, coding, clip, size)
        self.stream = stream
        self._sound = AudioTracks(clip, self.container, kind.audio_streams, kind.sound_encoder)

    def write(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self._packets += self._encoder.encode(frame.image, self._stamps.of(frame))
        self._frames += 1
        if self._frames % self._segments.frames == 0:
            self._end_segment()

    def write_segment(self, packed: PackedPackets) -> None:
        """Adds a segment that an earlier run made."""
        self._stamps.last = int(packed["pts"].max())
        packets = unpack(packed, self.stream, self._time_base)
        for stamp, packet in zip(packed["dts"].tolist(), packets, strict=True):
            self.container.mux(packet)
            self._sound.write_until(stamp * self._time_base)

    def _end_segment(self) -> None:
        """Only whole segments are written, so that a file does not depend on where its making was interrupted."""
        self._packets += self._encoder.end()
        packed = pack(self._packets, self._stamps.durations)
        self._packets = []
        self._stamps.durations.clear()
        self.write_segment(packed)
        self._segments.done(packed)

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`."""
        if self._frames % self._segments.frames:
            self._end_segment()
        self._sound.finish(end)
        self.container.close()

    def close(self) -> None:
        """See `FrameSink`."""
        with suppress(av.FFmpegError, OSError):
            self.container.close()
        self._sound.close()


class GifSink:
    """A GIF that repeats for ever, with 256 colours of its own for every frame; see `FrameSink`."""

    def __init__(self, file: Path, size: tuple[int, int]):
        """Opens the encoder."""
        self._stamps = TimestampQuantizer(GIF_TICK)
        self._left_out = 0
        self._palettes = _palette_graph(size)
        self.container = av.open(f"file:{file}", "w")
        stream = self.container.add_stream("gif", rate=1 / GIF_TICK, time_base=GIF_TICK)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "pal8"
        self.stream = stream

    def write(self, frame: Frame) -> None:
        """See `FrameSink`."""
        if self._stamps.last >= 0 and round(frame.time / GIF_TICK) - self._stamps.last < GIF_SHORTEST:
            self._left_out += 1
            return
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        picture.pts, picture.time_base = self._stamps.of(frame), GIF_TICK
        self._palettes.push(picture)
        self._encode_ready()

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`."""
        self._palettes.push(None)
        self._encode_ready()
        self._encode(None)
        self.container.close()
        if self._left_out:
            logging.warning("%d frames are left out: a GIF has at most 50 a second", self._left_out)

    def close(self) -> None:
        """See `FrameSink`."""
        with suppress(av.FFmpegError, OSError):
            self.container.close()

    def _encode_ready(self) -> None:
        for picture in _pulled(self._palettes):
            self._encode(picture)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        for packet in self.stream.encode(picture):
            packet.duration = self._stamps.durations.pop(packet.pts, 0) if packet.pts is not None else 0
            self.container.mux(packet)


def _palette_graph(size: tuple[int, int]) -> Graph:
    """RGB frames to frames with the palette that suits each best."""
    graph = Graph()
    width, height = size
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=GIF_TICK)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", "stats_mode=single")
    # An ordered pattern stays where it is from frame to frame; diffused errors would flicker.
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return


class FrameFolderSink:
    """A folder of 000001.png, 000002.png, ...; see `FrameSink`."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._frames = 0

    def write(self, frame: Frame) -> None:
        """See `FrameSink`."""
        self._frames += 1
        Image.fromarray(frame.image).save(self._folder / f"{self._frames:06d}.png")

    def finish(self, end: Fraction | None) -> None:
        """See `FrameSink`."""

    def close(self) -> None:
        """See `FrameSink`."""
