"""Audio remuxing: copies the packets of the source, or transcodes them if the container cannot hold their codec."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Protocol

import av
from absl import logging
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Discard

from msst_jax.video.io.reader import open_container
from msst_jax.video.io.types import AudioInfo, VideoInfo

BIT_RATE_PER_CHANNEL = 96_000  # bits per second, of transcoded audio
DISCONTINUITY = Fraction(1, 10)  # seconds; where timestamps jump back further, the clock of the source has restarted


class AudioTracks:
    """All audio streams of a video, demuxed separately from its frames and muxed packet by packet into an output."""

    def __init__(self, video: VideoInfo, output: OutputContainer, copied_codecs: Iterable[str], encoder: str):
        """Adds the streams to the output.

        Args:
          video: the source of the audio; it may have none.
          output: a container whose header is not written yet.
          copied_codecs: codecs that the output can hold; other audio is transcoded.
          encoder: transcodes it, by FFmpeg's name.

        Raises:
          UserError: the source can no longer be read.
          av.FFmpegError: the output refuses a stream.
        """
        self._output = output
        self._start = video.start
        self._files = ExitStack()
        self._tracks: dict[int, _Track] = {}
        self._retimers: dict[int, _PacketRetimer] = {}
        self._packets: Iterator[av.Packet] = iter(())
        if video.audio_streams:
            source = self._files.enter_context(open_container(video.path))
            for audio in video.audio_streams:
                self._tracks[audio.stream] = _add_track(video, audio, source, output, copied_codecs, encoder)
            self._packets = _demux(source, tuple(self._tracks))
        self._next = next(self._packets, None)

    def write_until(self, time: Fraction | None) -> None:
        """Muxes the packets that begin before `time` (seconds of the video), None = all.

        Raises:
          OSError, av.FFmpegError: the output cannot be written.
        """
        while self._next is not None and (time is None or self._seconds(self._next) < time):
            self._write(self._next)
            self._next = next(self._packets, None)

    def finish(self, end: Fraction | None) -> None:
        """Muxes the packets that begin before `end` (seconds of the video), None = all, and flushes the transcoders.

        Raises:
          OSError, av.FFmpegError: the output cannot be written.
        """
        self.write_until(end)
        for track in self._tracks.values():
            self._output.mux(track.convert(None))

    def close(self) -> None:
        """Closes the source file."""
        self._files.close()

    def _seconds(self, packet: av.Packet) -> Fraction:
        timestamp = packet.dts if packet.dts is not None else packet.pts
        return Fraction(-1) if timestamp is None else timestamp * packet.time_base - self._start

    def _write(self, packet: av.Packet) -> None:
        stream = packet.stream_index
        if stream not in self._retimers:
            self._retimers[stream] = _PacketRetimer(packet.time_base, self._start)
        self._retimers[stream].apply(packet)
        self._output.mux(self._tracks[stream].convert(packet))


class _PacketRetimer:
    """Shifts the packets of a track to the start of the video, and keeps their dts increasing, as muxers require.

    In broadcast recordings and concatenated files, the clock of the source may restart midway.
    """

    def __init__(self, time_base: Fraction, start: Fraction):
        self._shift = -round(start / time_base)
        self._discontinuity = round(DISCONTINUITY / time_base)
        self._last_dts: int | None = None
        self._next_dts = 0

    def apply(self, packet: av.Packet) -> None:
        """Sets dts and pts of a packet."""
        timestamp = packet.dts if packet.dts is not None else packet.pts
        dts = self._next_dts if timestamp is None else timestamp + self._shift
        delay = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else 0
        if self._last_dts is not None and dts <= self._last_dts:
            if self._last_dts - dts > self._discontinuity:
                self._shift += self._next_dts - dts
                dts = self._next_dts
            else:  # rounding, or a small overlap
                dts = self._last_dts + 1
        packet.dts, packet.pts = dts, dts + delay
        self._last_dts, self._next_dts = dts, dts + max(packet.duration or 0, 1)


class _Track(Protocol):
    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """Output packets that are ready after a packet of the source; None flushes."""


class _CopiedTrack:
    def __init__(self, source: AudioStream, output: OutputContainer):
        self._stream = output.add_stream_from_template(source)
        self._stream.metadata.update(_language(source))

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        if packet is None:
            return ()
        packet.stream = self._stream
        return (packet,)


class _TranscodedTrack:
    """Mono stays mono, other layouts become stereo; the sample rate is the encoder's lowest not below the source's.

    Where all its rates are below, its highest.
    """

    def __init__(self, source: AudioStream, output: OutputContainer, encoder: str):
        self._source = source
        self._damaged = False
        rates = av.Codec(encoder, "w").audio_rates or [source.rate]
        rate = min((rate for rate in rates if rate >= source.rate), default=max(rates))
        layout = "mono" if source.channels == 1 else "stereo"
        stream = output.add_stream(encoder, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout
        stream.bit_rate = BIT_RATE_PER_CHANNEL * (1 if layout == "mono" else 2)
        stream.metadata.update(_language(source))
        self._stream = stream

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        encoded: list[av.Packet] = []
        try:
            for frame in self._source.decode(packet):
                encoded += self._stream.encode(frame)
        except (av.FFmpegError, ValueError):  # ValueError: the stream changes its channels or rate midway
            self._damaged = True
        if packet is None and self._damaged:
            logging.warning("parts of the audio could not be decoded and were dropped")
        return encoded + self._stream.encode(None) if packet is None else encoded


def _language(source: AudioStream) -> dict[str, str]:
    return {"language": source.language} if source.language else {}


def _add_track(
    video: VideoInfo,
    audio: AudioInfo,
    source: InputContainer,
    output: OutputContainer,
    copied_codecs: Iterable[str],
    encoder: str,
) -> _Track:
    stream = source.streams[audio.stream]
    assert isinstance(stream, AudioStream)
    if audio.codec in copied_codecs:
        return _CopiedTrack(stream, output)
    logging.info("the audio of %s is transcoded: %s cannot hold %s", video.path, output.format.name, audio.codec)
    return _TranscodedTrack(stream, output, encoder)


def _demux(source: InputContainer, streams: tuple[int, ...]) -> Iterator[av.Packet]:
    """Packets of the given streams, in the order of the file, up to the first read error."""
    for stream in source.streams:
        if stream.index not in streams:
            stream.discard = Discard.all
    try:
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError):
        return  # the frames end at the same place, and the reader logs a warning
