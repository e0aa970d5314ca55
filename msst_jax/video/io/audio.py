"""The sound of a clip on its way into another container: copied packet by packet, or encoded anew where it must be."""

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

BITS_PER_CHANNEL = 96_000
LARGEST_STEP_BACK = Fraction(1, 10)  # seconds; beyond it the clock has begun anew


class AudioTracks:
    """All audio streams of a clip, read beside the frames by a container of their own, a packet at a time."""

    def __init__(self, clip: VideoInfo, output: OutputContainer, copied: Iterable[str], encoder: str):
        """Adds the streams to the output.

        Args:
          clip: whose sound; a clip without any is fine.
          output: nothing must have been written to it yet.
          copied: codecs that the output can hold; `encoder` makes it of the others.
          encoder: FFmpeg's name.

        Raises:
          UserError: the clip cannot be read any more.
        """
        self._output = output
        self._start = clip.start
        self._files = ExitStack()
        self._tracks: dict[int, _Track] = {}
        self._times: dict[int, _PacketTimes] = {}
        self._packets: Iterator[av.Packet] = iter(())
        if clip.audio_streams:
            source = self._files.enter_context(open_container(clip.path))
            for sound in clip.audio_streams:
                self._tracks[sound.stream] = _track(clip, sound, source, output, copied, encoder)
            self._packets = _audio_packets(source, tuple(self._tracks))
        self._next = next(self._packets, None)

    def write_until(self, time: Fraction | None) -> None:
        """Writes what begins before `time`, in seconds of the clip; None = all of it."""
        while self._next is not None and (time is None or self._seconds(self._next) < time):
            self._write(self._next)
            self._next = next(self._packets, None)

    def finish(self, end: Fraction | None) -> None:
        """Writes what begins before `end`, None = all of it, and what the encoders still hold."""
        self.write_until(end)
        for track in self._tracks.values():
            self._output.mux(track.take(None))

    def close(self) -> None:
        """Closes the file of the clip."""
        self._files.close()

    def _seconds(self, packet: av.Packet) -> Fraction:
        stamp = packet.dts if packet.dts is not None else packet.pts
        return Fraction(-1) if stamp is None else stamp * packet.time_base - self._start

    def _write(self, packet: av.Packet) -> None:
        number = packet.stream_index
        if number not in self._times:
            self._times[number] = _PacketTimes(packet.time_base, self._start)
        self._times[number].correct(packet)
        self._output.mux(self._tracks[number].take(packet))


class _PacketTimes:
    """Moves the packets of a track to the beginning of the clip, and keeps their times growing, as containers demand.

    In recordings and joined files the clock of the source begins anew in the middle.
    """

    def __init__(self, time_base: Fraction, start: Fraction):
        self._shift = -round(start / time_base)
        self._large = round(LARGEST_STEP_BACK / time_base)
        self._last: int | None = None
        self._next = 0

    def correct(self, packet: av.Packet) -> None:
        """Sets the time stamps of a packet."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        dts = self._next if stamp is None else stamp + self._shift
        delay = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else 0
        if self._last is not None and dts <= self._last:
            if self._last - dts > self._large:
                self._shift += self._next - dts
                dts = self._next
            else:  # rounded, or overlapping a little
                dts = self._last + 1
        packet.dts, packet.pts = dts, dts + delay
        self._last, self._next = dts, dts + max(packet.duration or 0, 1)


class _Track(Protocol):
    def take(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """What comes out for a packet of the clip; None at the end."""


class _CopiedTrack:
    def __init__(self, source: AudioStream, output: OutputContainer):
        self.stream = output.add_stream_from_template(source)
        self.stream.metadata.update(_language(source))

    def take(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        if packet is None:
            return ()
        packet.stream = self.stream
        return (packet,)


class _TranscodedTrack:
    def __init__(self, source: AudioStream, output: OutputContainer, encoder: str):
        self.source = source
        self.damaged = False
        rates = av.Codec(encoder, "w").audio_rates or [source.rate]
        rate = min((rate for rate in rates if rate >= source.rate), default=max(rates))
        layout = "mono" if source.channels == 1 else "stereo"
        stream = output.add_stream(encoder, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout
        stream.bit_rate = BITS_PER_CHANNEL * (1 if layout == "mono" else 2)
        stream.metadata.update(_language(source))
        self.stream = stream

    def take(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        made: list[av.Packet] = []
        try:
            for frame in self.source.decode(packet):
                made += self.stream.encode(frame)
        except (av.FFmpegError, ValueError):  # ValueError: the stream changes its channels or rate midway
            self.damaged = True
        if packet is None and self.damaged:
            logging.warning("parts of the sound cannot be read and are left out")
        return made + self.stream.encode(None) if packet is None else made


def _language(source: AudioStream) -> dict[str, str]:
    return {"language": source.language} if source.language else {}


def _track(
    clip: VideoInfo,
    sound: AudioInfo,
    source: InputContainer,
    output: OutputContainer,
    copied: Iterable[str],
    encoder: str,
) -> _Track:
    stream = source.streams[sound.stream]
    assert isinstance(stream, AudioStream)
    if sound.codec in copied:
        return _CopiedTrack(stream, output)
    logging.info("the sound of %s is encoded anew: %s holds no %s", clip.path, output.format.name, sound.codec)
    return _TranscodedTrack(stream, output, encoder)


def _audio_packets(source: InputContainer, streams: tuple[int, ...]) -> Iterator[av.Packet]:
    """The packets of some streams, in the order of the file, as far as it can be read."""
    for stream in source.streams:
        if stream.index not in streams:
            stream.discard = Discard.all
    try:
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError):
        return  # the frames end there too, and the reader says so
