"""What a video file holds beside frames and audio: tags, chapters, flags of streams, attached files."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from msst_jax.video.io.formats import ContainerFormat
from msst_jax.video.io.types import Chapter, Extras, SubtitleInfo

CHAPTER_TICK = Fraction(1, 1000)  # seconds
# Tags that describe the file, the device or the place of the recording, not the work.
_TECHNICAL_TAGS = frozenset(
    {
        *("major_brand", "minor_version", "compatible_brands", "encoder", "encoded_by", "encoding_tool", "software"),
        *("creation_time", "duration", "vendor_id", "handler_name", "timecode", "reel_name", "alpha_mode", "bps"),
        *("location", "location-eng", "make", "model"),
    }
)
_TECHNICAL_PREFIXES = ("com.", "_statistics", "bps-", "duration-", "number_of_", "_")
_STREAM_TAGS = ("language", "title")
# FFmpeg's QuickTime muxer knows these languages by other codes than ISO 639-2/T, and drops what it does not know.
# Source: libavformat/isom.c, mov_mdhd_language_map.
_QUICKTIME_LANGUAGES = {
    **{"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac", "hye": "arm"},
    **{"kat": "geo", "bod": "tib", "mya": "bur", "msa": "may", "swe": "sve", "gle": "iri"},
}
# Flags about what a track is for; the others are about how its packets are stored.
_KEPT_DISPOSITIONS = (
    Disposition.default
    | Disposition.dub
    | Disposition.original
    | Disposition.comment
    | Disposition.forced
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.captions
    | Disposition.descriptions
)


def read_extras(container: InputContainer, video: VideoStream, start: Fraction) -> Extras:
    """Everything beside frames and audio.

    Args:
      container: the file.
      video: the stream whose frames are read.
      start: seconds on the clock of the file that are time 0 of the video.
    """
    streams = list(container.streams)
    return Extras(
        subtitles=tuple(
            SubtitleInfo(stream.index, stream.codec_context.codec.canonical_name)
            for stream in streams
            if stream.type == "subtitle" and stream.codec_context is not None
        ),
        chapters=tuple(_read_chapters(container, start)),
        tags=_descriptive_tags(container.metadata),
        video_tags=_stream_tags(video),
        video_disposition=video.disposition & _KEPT_DISPOSITIONS,
        attachments=tuple(stream.index for stream in streams if isinstance(stream, AttachmentStream)),
        unsupported=tuple(dict.fromkeys(_describe_unsupported(container, video))),  # phones write several of a kind
    )


def _read_chapters(container: InputContainer, start: Fraction) -> Iterator[Chapter]:
    for chapter in container.chapters():
        tick = chapter["time_base"] or CHAPTER_TICK
        begin, end = (max(chapter[side] * tick - start, Fraction(0)) for side in ("start", "end"))
        yield Chapter(begin, end, chapter["metadata"])


def _descriptive_tags(tags: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in tags.items()}
    return {
        name: value
        for name, value in lower.items()
        if name not in _TECHNICAL_TAGS and not name.startswith(_TECHNICAL_PREFIXES)
    }


def _stream_tags(stream: Stream) -> dict[str, str]:
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    tags["title"] = tags.get("title") or tags.get("name", "")  # MP4 and QuickTime call it a name
    return {name: tags[name] for name in _STREAM_TAGS if tags.get(name)}


def _describe_unsupported(container: InputContainer, video: VideoStream) -> Iterator[str]:
    has_chapters = bool(container.chapters())
    for stream in container.streams:
        if stream.type == "video" and stream.index != video.index:
            yield "cover picture" if stream.disposition & Disposition.attached_pic else "second video stream"
        elif stream.type in ("audio", "subtitle") and stream.codec_context is None:
            yield f"{stream.type} stream of an unknown codec"
        elif stream.type in ("data", "unknown") and not (has_chapters and _is_chapter_track(stream)):
            yield f"data stream ({stream.name})" if stream.name else "data stream"


def _is_chapter_track(stream: Stream) -> bool:
    """MP4 and QuickTime store the titles of chapters as the texts of a stream, too."""
    return stream.name in (None, "bin_data")


def describe_stream(source: Stream, target: Stream) -> None:
    """Copies language, title and flags of a stream; `target` is of an output whose header is not written yet."""
    tags = _stream_tags(source)
    if target.container.format.name == "mov" and "language" in tags:
        tags["language"] = _QUICKTIME_LANGUAGES.get(tags["language"], tags["language"])
    target.metadata.update(tags)
    target.disposition = source.disposition & _KEPT_DISPOSITIONS


def is_default(stream: Stream) -> bool:
    """Whether players choose a stream unless they are told otherwise."""
    return bool(stream.disposition & Disposition.default)


def describe_output(
    extras: Extras, output: OutputContainer, video: VideoStream, tags: frozenset[str] | None, end: Fraction | None
) -> None:
    """Writes tags and chapters into an output whose header is not written yet, and describes its video stream.

    Args:
      extras: of the source.
      output: the container.
      video: its video stream.
      tags: names that it stores; None = all.
      end: seconds at which the video is cut; None = not at all.
    """
    output.metadata.update({name: value for name, value in extras.tags.items() if tags is None or name in tags})
    video.metadata.update(extras.video_tags)
    video.disposition = Disposition(extras.video_disposition)
    chapters = [chapter for chapter in extras.chapters if end is None or chapter.start < end]
    output.set_chapters(
        [
            {
                "id": number,
                "start": round(chapter.start / CHAPTER_TICK),
                "end": round((chapter.end if end is None else min(chapter.end, end)) / CHAPTER_TICK),
                "time_base": CHAPTER_TICK,
                "metadata": dict(chapter.tags),
            }
            for number, chapter in enumerate(chapters, 1)
        ]
    )


def dropped_extras(extras: Extras, container_format: ContainerFormat | None) -> list[str]:
    """What a format cannot hold, in words for the user; None = a format for frames alone."""
    subtitles, tags, attachments = frozenset[str](), frozenset[str](), False
    if container_format is not None:
        subtitles, attachments = container_format.subtitles, container_format.attachments
        tags = container_format.tags or frozenset(extras.tags)
    lost = [subtitle.codec for subtitle in extras.subtitles if subtitle.codec not in subtitles]
    lost_tags = [name for name in extras.tags if name not in tags]
    return [
        *([f"subtitles ({', '.join(lost)})"] if lost else []),
        *(["chapters"] if extras.chapters and container_format is None else []),
        *([f"tags ({', '.join(lost_tags)})"] if lost_tags else []),
        *(["attached files"] if extras.attachments and not attachments else []),
        *extras.unsupported,
    ]


def copy_attachments(source: InputContainer, streams: Iterable[int], output: OutputContainer) -> None:
    """Adds attached files, such as the fonts of subtitles, to an output whose header is not written yet."""
    for index in streams:
        stream = source.streams[index]
        assert isinstance(stream, AttachmentStream)
        output.add_attachment(
            stream.name or f"attachment{index}", stream.mimetype or "application/octet-stream", stream.data
        )
