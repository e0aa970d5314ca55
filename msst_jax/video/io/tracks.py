"""Tracks beside the video: audio and subtitles, demuxed separately from the frames, cut along, and remuxed."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction

import av
from absl import logging
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Discard
from av.subtitles.stream import SubtitleStream

from msst_jax.video.io.audio import CopiedTrack, Track, TranscodedTrack
from msst_jax.video.io.decoding import open_container
from msst_jax.video.io.extras import copy_attachments
from msst_jax.video.io.formats import ContainerFormat
from msst_jax.video.io.part import seek_before
from msst_jax.video.io.subtitles import ConvertedSubtitles, kept_subtitles
from msst_jax.video.io.types import WHOLE, AudioInfo, SubtitleInfo, VideoInfo

INTERLEAVING = 10  # seconds; streams of a file are interleaved more closely than that
DISCONTINUITY = Fraction(1, 10)  # seconds; where timestamps jump back further, the clock of the source has restarted


class SideTracks:
    """All audio and subtitle streams of a video, and its attached files; muxed packet by packet into an output."""

    def __init__(self, video: VideoInfo, output: OutputContainer, container_format: ContainerFormat):
        """Adds the streams to the output.

        Args:
          video: the source of the tracks; it may have none.
          output: a container whose header is not written yet.
          container_format: of the output: what it can hold, and how the rest is converted.

        Raises:
          UserError: the source can no longer be read.
          av.FFmpegError: the output refuses a stream.
        """
        self._output = output
        self._start = video.start
        self._files = ExitStack()
        self._tracks: dict[int, Track] = {}
        self._retimers: dict[int, _PacketRetimer] = {}
        self._packets: Iterator[av.Packet] = iter(())
        subtitles = kept_subtitles(video.extras.subtitles, container_format)
        attachments = video.extras.attachments if container_format.attachments else ()
        if video.audio_streams or subtitles or attachments:
            source = self._files.enter_context(open_container(video.path))
            for audio in video.audio_streams:
                self._tracks[audio.stream] = _add_audio(audio, source, output, container_format)
            _log_transcoded(video, output, container_format)
            for subtitle in subtitles:
                self._tracks[subtitle.stream] = _add_subtitles(subtitle, source, output, container_format)
            copy_attachments(source, attachments, output)
            self._packets = _cut(_demux(source, tuple(self._tracks), video), video)
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
        return _seconds(packet, self._start)

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


def _log_transcoded(video: VideoInfo, output: OutputContainer, container_format: ContainerFormat) -> None:
    """Says in one line which codecs are transcoded, of all tracks."""
    codecs = dict.fromkeys(audio.codec for audio in video.audio_streams)
    transcoded = [codec for codec in codecs if codec not in container_format.audio_codecs]
    if transcoded:
        found = ", ".join(transcoded)
        logging.info("the audio of %s is transcoded: %s cannot hold %s", video.path, output.format.name, found)


def _add_audio(
    audio: AudioInfo, source: InputContainer, output: OutputContainer, container_format: ContainerFormat
) -> Track:
    stream = source.streams[audio.stream]
    assert isinstance(stream, AudioStream)
    if audio.codec in container_format.audio_codecs:
        return CopiedTrack(stream, output)
    return TranscodedTrack(stream, output, container_format.audio_encoder)


def _add_subtitles(
    subtitle: SubtitleInfo, source: InputContainer, output: OutputContainer, container_format: ContainerFormat
) -> Track:
    stream = source.streams[subtitle.stream]
    assert isinstance(stream, SubtitleStream)
    if subtitle.codec in container_format.subtitle_codecs:
        return CopiedTrack(stream, output)
    return ConvertedSubtitles(stream, output, container_format.subtitle_encoder)


def _demux(source: InputContainer, streams: tuple[int, ...], video: VideoInfo) -> Iterator[av.Packet]:
    """Packets of the given streams, in the order of the file, up to the first read error; of a part, from it on."""
    for stream in source.streams:
        if stream.index not in streams:
            stream.discard = Discard.all
    if not streams:
        return
    if video.part.start:
        seek_before(source, video.start)
    try:
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError):
        return  # the frames end at the same place, and the reader logs a warning


def _cut(packets: Iterator[av.Packet], video: VideoInfo) -> Iterator[av.Packet]:
    """The packets that begin in a part of a video, and the subtitles that last into it, shortened."""
    for packet in packets:
        begin = _seconds(packet, video.start)
        length = (packet.duration or 0) * packet.time_base
        if video.end is not None and begin >= video.end:
            if begin >= video.end + INTERLEAVING:
                return
            continue
        if packet.stream.type == "subtitle" and video.part != WHOLE:
            end = begin + length if video.end is None else min(begin + length, video.end)
            begin = max(begin, Fraction(0)) if end > 0 else begin
            packet.pts = packet.dts = math.ceil((begin + video.start) / packet.time_base)
            packet.duration = round((end - begin) / packet.time_base)
        if begin >= 0 or not video.part.start:
            yield packet


def _seconds(packet: av.Packet, start: Fraction) -> Fraction:
    """When a packet begins, on a clock that shows 0 at `start`; before 0 if it does not say so."""
    timestamp = packet.dts if packet.dts is not None else packet.pts
    return Fraction(-1) if timestamp is None else timestamp * packet.time_base - start
