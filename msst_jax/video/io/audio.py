"""Tracks of an output: packets copied from the source, or audio that the container cannot hold transcoded."""

from collections.abc import Sequence
from typing import Protocol

import av
from absl import logging
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.subtitles.stream import SubtitleStream

from msst_jax.video.io.extras import describe_stream

BIT_RATE_PER_CHANNEL = 96_000  # bits per second, of transcoded audio


class Track(Protocol):
    """A track of the output."""

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """Output packets that are ready after a packet of the source; None flushes."""


class CopiedTrack:
    """An audio or subtitle stream whose packets are copied."""

    def __init__(self, source: AudioStream | SubtitleStream, output: OutputContainer):
        """Adds the stream to the output."""
        self._stream = output.add_stream_from_template(source)
        describe_stream(source, self._stream)

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """See `Track`."""
        if packet is None:
            return ()
        packet.stream = self._stream
        return (packet,)


class TranscodedTrack:
    """Audio that is decoded and encoded again.

    Mono stays mono, other layouts become stereo; the sample rate is the encoder's lowest not below the source's;
    where all its rates are below, its highest.
    """

    def __init__(self, source: AudioStream, output: OutputContainer, encoder: str):
        """Adds the stream to the output; `encoder` is FFmpeg's name."""
        self._source = source
        self._damaged = False
        rates = av.Codec(encoder, "w").audio_rates or [source.rate]
        rate = min((rate for rate in rates if rate >= source.rate), default=max(rates))
        layout = "mono" if source.channels == 1 else "stereo"
        stream = output.add_stream(encoder, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout
        stream.bit_rate = BIT_RATE_PER_CHANNEL * (1 if layout == "mono" else 2)
        describe_stream(source, stream)
        self._stream = stream

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """See `Track`."""
        encoded: list[av.Packet] = []
        try:
            for frame in self._source.decode(packet):
                encoded += self._stream.encode(frame)
        except (av.FFmpegError, ValueError):  # ValueError: the stream changes its channels or rate midway
            self._damaged = True
        if packet is None and self._damaged:
            logging.warning("parts of the audio could not be decoded and were dropped")
        return encoded + self._stream.encode(None) if packet is None else encoded
