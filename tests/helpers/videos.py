"""Small synthetic videos encoded with PyAV, probes of files with PyAV alone, and a decode-encode round trip."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet
from av.video.stream import VideoStream

from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame, VideoSource
from msst_jax.video.io.writer import video_writer
from tests.helpers.pictures import noise

NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)
UNEVEN = [Fraction(number, 1000) for number in (0, 40, 75, 180, 220, 231, 400, 440, 700, 733)]


class Tone(NamedTuple):
    """An audio stream with a sine of 440 Hz; codec and layout by FFmpeg's names, rate in samples per second."""

    codec: str
    rate: int = 48000
    layout: str = "mono"
    language: str = ""
    seconds: float = 0.5


def constant_rate_times(count: int, rate: Fraction) -> list[Fraction]:
    """Frame times in seconds at a constant rate."""
    return [index / rate for index in range(count)]


def moving(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Distinguishable uint8 images (H, W, 3): a different gray level each, with a bright square that moves right."""
    images = [np.full((height, width, 3), 20 + 10 * index, np.uint8) for index in range(count)]
    for index, image in enumerate(images):
        image[4:12, index : index + 8] = (250, 120, 10)
    return images


def make_video(
    path: Path,
    images: Sequence[np.ndarray],
    times: Sequence[Fraction] | None = None,
    *,
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    form: str = "yuv420p",
    time_base: Fraction | None = None,
    sounds: Sequence[Tone] = (),
    rotation: Sequence[Any] = (),
    options: dict[str, str] | None = None,
    **tags: Any,
) -> Path:
    """Encodes a video of uint8 images (H, W, 3), or (H, W, 4) with alpha.

    Args:
      path: its suffix selects the container.
      images: the frames.
      times: of the frames, in seconds; None = a constant rate.
      rate: frames per second.
      codec: the video encoder, by FFmpeg's name.
      form: pixel format, by FFmpeg's name.
      time_base: seconds; None = one frame period.
      sounds: the audio streams.
      rotation: arguments of PyAV's set_display_rotation: degrees, and optionally whether to mirror.
      options: further options of the encoder.
      **tags: attributes of the codec context, such as color tags.
    """
    height, width = images[0].shape[:2]
    with av.open(
        f"file:{path}", "w", container_options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    ) as out:
        stream = out.add_stream(codec, rate=rate, options={"crf": "5"} if codec == "libx264" else {})
        assert isinstance(stream, VideoStream)
        stream.options.update(options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, form
        stream.codec_context.time_base = tick = time_base or 1 / rate
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(*rotation)
        tracks = [_add_audio(out, tone) for tone in sounds]
        packets = []
        for image, time in zip(images, times or constant_rate_times(len(images), rate), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            packet.duration = round(1 / rate / tick)
            out.mux(packet)
        for tone, track in zip(sounds, tracks, strict=True):
            out.mux(track.encode(_samples(tone)))
            out.mux(track.encode(None))
    return path


ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, \
MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def add_subtitles(out: av.container.OutputContainer, codec: str) -> SubtitleStream:
    """Adds a stream of text subtitles to an output; codec by FFmpeg's name."""
    stream = out.add_stream(codec)
    assert isinstance(stream, SubtitleStream)
    stream.codec_context.subtitle_header = ASS_HEADER.replace("\n", "\r\n").encode()
    stream.codec_context.time_base = Fraction(1, 1000)
    return stream


def make_rich_video(path: Path) -> Path:
    """Encodes a second of an .mp4 or .mkv with all that a file can hold beside frames and audio.

    Two audio tracks, of which the second is the default; two subtitle tracks, of which the second is forced; chapters,
    tags, titles and languages; an .mkv also has an attached font and a tag that no other container knows.
    """
    matroska = path.suffix == ".mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        video.metadata["title"], video.disposition = "Main view", Disposition.default
        sounds = [_add_audio(out, Tone("aac", language=language, seconds=1)) for language in ("eng", "fra")]
        sounds[1].disposition = Disposition.default
        texts = [add_subtitles(out, codec) for codec in (("subrip", "ass") if matroska else ("mov_text", "mov_text"))]
        texts[1].disposition = Disposition.forced
        for stream, language in zip(texts, ("fra", "eng"), strict=True):
            stream.metadata.update(language=language, title=f"Text {language}")
        sounds[1].metadata["title"] = "Dubbed"
        out.metadata.update(title="A walk", artist="Somebody", comment="none", date="2024", genre="Test")
        if matroska:
            out.metadata["mood"] = "calm"
            out.add_attachment("font.ttf", "font/ttf", b"glyphs")
        out.set_chapters([_chapter(1, 0, 400, "One"), _chapter(2, 400, 1000, "Two")])
        for index, image in enumerate(moving(10)):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for track in sounds:
            out.mux(track.encode(_samples(Tone("aac", seconds=1))))
            out.mux(track.encode(None))
        for stream in texts:
            for number, begin in enumerate((100, 500)):
                text = rf"{number},0,Default,,0,0,0,,{stream.metadata['language']} {{\i1}}{number}{{\i0}}\Nnext"
                packet = stream.codec_context.encode_subtitle(SubtitleSet.create(text.encode(), 0, 300))
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = begin
                packet.duration = 300
                out.mux(packet)
    return path


def _chapter(number: int, begin: int, end: int, title: str) -> dict[str, Any]:
    return {"id": number, "start": begin, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def make_sound(path: Path, tone: Tone, cover: bool = False) -> Path:
    """Encodes a file with audio only, optionally with cover art."""
    with av.open(f"file:{path}", "w") as out:
        track = _add_audio(out, tone)
        if cover:
            art = out.add_stream("mjpeg", rate=25)
            assert isinstance(art, VideoStream)
            art.width, art.height, art.pix_fmt = 64, 48, "yuvj420p"
            art.disposition = Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(noise(48, 64))
            out.mux(art.encode(frame))
        out.mux(track.encode(_samples(tone)))
        out.mux(track.encode(None))
    return path


def _add_audio(out: av.container.OutputContainer, tone: Tone) -> AudioStream:
    track = out.add_stream(tone.codec, rate=tone.rate)
    assert isinstance(track, AudioStream)
    track.layout = tone.layout
    if tone.language:
        track.metadata["language"] = tone.language
    return track


def _samples(tone: Tone) -> av.AudioFrame:
    times = np.arange(int(tone.seconds * tone.rate)) / tone.rate
    wave = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    channels = av.AudioLayout(tone.layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.stack([wave] * channels), format="fltp", layout=tone.layout)
    frame.sample_rate, frame.pts, frame.time_base = tone.rate, 0, Fraction(1, tone.rate)
    return frame


def transcode(source: Path, output: Path, frames: Iterable[Frame] | None = None, **options: Any) -> VideoSource:
    """Writes the frames of a video, or the given ones, with `video_writer`; opens the output."""
    video = open_video(source)
    with video_writer(output, video.info, **options) as writer:
        for frame in frames or video.frames():
            writer.write(frame)
    return open_video(output)


def read_images(path: Path) -> list[np.ndarray]:
    """The frames of a video, uint8 (H, W, 3)."""
    return [frame.image for frame in open_video(path).frames()]


def read_times(path: Path) -> list[Fraction]:
    """The times of its frames, in seconds."""
    return [frame.time for frame in open_video(path).frames()]


def sound_packets(path: Path, track: int = 0) -> list[tuple[Fraction, bytes]]:
    """(Time in seconds, data) of the packets of an audio stream."""
    with av.open(f"file:{path}") as file:
        packets = [packet for packet in file.demux(file.streams.audio[track]) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


def sound_span(path: Path, track: int = 0) -> tuple[Fraction, Fraction]:
    """Start of the first decoded frame and end of the last packet of an audio stream, in seconds of the file."""
    with av.open(f"file:{path}") as file:
        packets = [packet for packet in file.demux(file.streams.audio[track]) if packet.size]
        end = max((packet.pts + packet.duration) * packet.time_base for packet in packets)
    with av.open(f"file:{path}") as file:
        first = next(file.decode(file.streams.audio[track]))
        return first.pts * first.time_base, end


def first_frame_planes(path: Path) -> tuple[av.VideoFrame, list[np.ndarray]]:
    """The first frame as stored, and its planes, each uint8 (H, W)."""
    with av.open(f"file:{path}") as file:
        frame = next(file.decode(video=0))
    rows = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    return frame, [row[: plane.height, : plane.width] for row, plane in zip(rows, frame.planes, strict=True)]


def to_ycbcr(color: Sequence[int], red: float, blue: float) -> np.ndarray:
    """Y, Cb, Cr (float64, shape (3,)) of an 8-bit RGB color in limited range; `red` and `blue` are its luma weights.

    Source: ITU-R BT.601-7 (0.299, 0.114) and BT.709-6 (0.2126, 0.0722).
    """
    r, g, b = (value / 255 for value in color)
    luma = red * r + (1 - red - blue) * g + blue * b
    return np.array(
        [16 + 219 * luma, 128 + 112 * (b - luma) / (1 - blue), 128 + 112 * (r - luma) / (1 - red)],
    )
