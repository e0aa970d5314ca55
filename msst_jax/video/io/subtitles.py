"""Subtitle tracks: which of them a container can hold, and text converted to the format of the container."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
from absl import logging
from av.container import OutputContainer
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from msst_jax.video.io.extras import describe_stream
from msst_jax.video.io.formats import ContainerFormat
from msst_jax.video.io.types import SubtitleInfo

TICK = Fraction(1, 1000)  # seconds; of converted subtitles
FIELDS_BEFORE_TEXT = 8  # of an ASS event as FFmpeg decodes it: ReadOrder, Layer, Style, Name, 3 margins, Effect


def kept_subtitles(subtitles: Iterable[SubtitleInfo], container_format: ContainerFormat) -> list[SubtitleInfo]:
    """Those that the container can hold."""
    return [subtitle for subtitle in subtitles if subtitle.codec in container_format.subtitles]


class ConvertedSubtitles:
    """A subtitle stream that is decoded and encoded again, with bold and italics; see `Track`."""

    def __init__(self, source: SubtitleStream, output: OutputContainer, encoder: str):
        """Adds the stream to the output; `encoder` is FFmpeg's name."""
        self._source = source
        self._damaged = False
        stream = output.add_stream(encoder)
        assert isinstance(stream, SubtitleStream)
        context = stream.codec_context
        source.codec_context.open(strict=False)
        context.subtitle_header = source.codec_context.subtitle_header
        context.time_base = TICK
        describe_stream(source, stream)
        self._stream, self._context = stream, context

    def convert(self, packet: av.Packet | None) -> Sequence[av.Packet]:
        """See `Track`."""
        if packet is None:
            if self._damaged:
                logging.warning("parts of the subtitles could not be decoded and were dropped")
            return ()
        try:
            event = _event(self._source.codec_context, packet)
        except (av.FFmpegError, ValueError):
            self._damaged = True
            return ()
        if not event:  # such as the empty packets that fill the gaps between subtitles in an MP4
            return ()
        assert packet.pts is not None
        ticks = round((packet.duration or 0) * packet.time_base / TICK)
        encoded = self._context.encode_subtitle(SubtitleSet.create(event, start=0, end=ticks))
        encoded.time_base = TICK
        encoded.pts = encoded.dts = round(packet.pts * packet.time_base / TICK)
        encoded.duration, encoded.stream = ticks, self._stream
        return (encoded,)


def _event(decoder: SubtitleCodecContext, packet: av.Packet) -> bytes:
    """The text of a packet as one ASS event; empty without text."""
    decoded = decoder.decode2(packet)
    events = [rect.ass for rect in decoded if isinstance(rect, AssSubtitle)] if decoded else []
    texts = [event.split(b",", FIELDS_BEFORE_TEXT)[-1] for event in events[1:]]
    return b"\\N".join([*events[:1], *texts])
