"""What is in a file beside frames and audio reaches every container that can hold it; the rest is named in one line."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet
from PIL import Image

from msst_jax.video.io.reader import open_video
from tests.helpers.logging_state import logged_warnings
from tests.helpers.videos import Tone, add_subtitles, make_rich_video, make_video, moving, transcode

CONTAINERS = [".mp4", ".m4v", ".mov", ".mkv", ".webm"]
SOURCES = ["a.mp4", "a.mkv"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        make_rich_video(folder / name)
    return folder


def subtitle_texts(path: Path) -> list[tuple[Fraction, str, str | None]]:
    """(Begin in seconds after the first frame, text, language) of all subtitles."""
    texts = []
    with av.open(f"file:{path}") as file:  # a muxer may shift all streams, so that none begins before 0
        start = next(file.decode(video=0)).pts * file.streams.video[0].time_base
    with av.open(f"file:{path}") as file:
        for packet in file.demux(*file.streams.subtitles):
            for event in packet.stream.codec_context.decode2(packet) or [] if packet.size else []:
                text = event.ass.split(b",", 8)[-1].decode().replace(r"{\r}", r"{\i0}")
                texts.append((packet.pts * packet.time_base - start, text, packet.stream.language))
    return texts


def chapters(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    with av.open(f"file:{path}") as file:
        return [
            (one["start"] * one["time_base"], one["end"] * one["time_base"], one["metadata"]["title"])
            for one in file.chapters()
        ]


def tags(path: Path) -> dict[str, str]:
    with av.open(f"file:{path}") as file:
        return {name.lower(): value for name, value in file.metadata.items()}


def tracks(path: Path, kind: str, value: Callable[[Any], Any]) -> list[Any]:
    with av.open(f"file:{path}") as file:
        return [value(stream) for stream in file.streams if stream.type == kind]


def title(stream: Any) -> str | None:
    return stream.metadata.get("title") or stream.metadata.get("name")


def is_default(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.default)


WHAT: dict[str, Callable[[Path], Any]] = {
    "subtitles": subtitle_texts,
    "chapters": chapters,
    "title": lambda path: {name: tags(path).get(name) for name in ("title", "artist", "comment", "date", "genre")},
    "languages": lambda path: [tracks(path, kind, lambda one: one.language) for kind in ("audio", "subtitle")],
    "track titles": lambda path: [tracks(path, kind, title) for kind in ("video", "audio", "subtitle")],
    "default track": lambda path: [tracks(path, kind, is_default) for kind in ("video", "audio", "subtitle")],
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("what", WHAT)
def test_what_is_in_the_file_is_kept(sources: Path, tmp_path: Path, what: str, source: str, container: str):
    output = tmp_path / f"out{container}"
    transcode(sources / source, output)
    kept = WHAT[what](output)
    assert kept == WHAT[what](sources / source)
    assert kept  # the source has it


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_forced_subtitle_track_stays_forced_where_the_container_can_say_so(sources: Path, tmp_path: Path, container):
    transcode(sources / "a.mkv", tmp_path / f"out{container}")
    forced = tracks(tmp_path / f"out{container}", "subtitle", lambda one: bool(one.disposition & Disposition.forced))
    assert forced == [False, container != ".mov"]


ALL_DROPPED = (
    "audio, subtitles (subrip, ass), chapters, tags (title, mood, artist, comment, date, genre), attached files"
)
DROPPED = {
    ".mp4": "tags (mood), attached files",
    ".m4v": "tags (mood), attached files",
    ".mov": "tags (mood), attached files",
    ".mkv": "",
    ".webm": "attached files",
    ".gif": ALL_DROPPED,
    "": ALL_DROPPED,
}


@pytest.mark.parametrize("container", DROPPED)
def test_what_a_format_cannot_hold_is_named_in_one_line(sources: Path, tmp_path: Path, container: str, caplog):
    source, output = sources / "a.mkv", tmp_path / f"out{container}"
    transcode(source, output)
    dropped = DROPPED[container]
    assert logged_warnings(caplog) == ([f"{output} has no {dropped}: that of {source} is dropped"] if dropped else [])


def test_an_attached_font_reaches_a_matroska_file(sources: Path, tmp_path: Path):
    transcode(sources / "a.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as file:
        (font,) = file.streams.attachments
        assert (font.name, font.mimetype, font.data) == ("font.ttf", "font/ttf", b"glyphs")


def test_styled_subtitles_are_copied_byte_for_byte_where_the_container_can(sources: Path, tmp_path: Path):
    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(file.streams.subtitles[1]) if packet.size]

    transcode(sources / "a.mkv", tmp_path / "out.mkv")
    assert packets(tmp_path / "out.mkv") == packets(sources / "a.mkv")
    assert tracks(tmp_path / "out.mkv", "subtitle", lambda one: one.codec_context.codec.canonical_name) == [
        "subrip",
        "ass",
    ]


def test_bitmap_subtitles_are_dropped_where_only_text_is_possible(tmp_path: Path, caplog):
    path = tmp_path / "a.mkv"
    with av.open(str(make_video(tmp_path / "plain.mkv", moving(5)))) as plain, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(plain.streams.video[0], opaque=True)
        bitmaps = out.add_mux_stream("hdmv_pgs_subtitle")
        for packet in plain.demux(plain.streams.video[0]):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        packet = av.Packet(b"\x80\x00\x00")  # the end of an empty display set
        packet.stream, packet.time_base, packet.pts, packet.dts = bitmaps, Fraction(1, 1000), 40, 40
        out.mux(packet)
    transcode(path, tmp_path / "out.mkv")
    assert tracks(tmp_path / "out.mkv", "subtitle", lambda one: one.codec_context.codec.canonical_name) == [
        "hdmv_pgs_subtitle"
    ]
    assert not logged_warnings(caplog)
    transcode(path, tmp_path / "out.mp4")
    assert tracks(tmp_path / "out.mp4", "subtitle", str) == []
    assert logged_warnings(caplog) == [
        f"{tmp_path}/out.mp4 has no subtitles (hdmv_pgs_subtitle): that of {path} is dropped",
    ]


def test_several_lines_shown_at_once_become_one_subtitle(tmp_path: Path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        subtitles = add_subtitles(out, "ass")
        for index, image in enumerate(moving(3)):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        packet = subtitles.codec_context.encode_subtitle(
            SubtitleSet.create(rb"0,0,Default,,0,0,0,,eins, zwei\Ndrei", 0, 40)
        )
        packet.time_base, packet.pts, packet.dts, packet.stream = Fraction(1, 1000), 40, 40, subtitles
        out.mux(packet)
    transcode(path, tmp_path / "out.mp4")
    assert [text for _, text, _ in subtitle_texts(tmp_path / "out.mp4")] == [r"eins, zwei\Ndrei"]


def test_a_cover_picture_is_named_as_dropped(tmp_path: Path, caplog):
    path, picture = tmp_path / "a.mkv", io.BytesIO()
    Image.fromarray(moving(1)[0]).save(picture, "JPEG")
    with av.open(str(make_video(tmp_path / "plain.mkv", moving(3)))) as plain, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(plain.streams.video[0], opaque=True)
        out.add_attachment("cover.jpg", "image/jpeg", picture.getvalue())
        for packet in plain.demux(plain.streams.video[0]):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    transcode(path, tmp_path / "out.mp4")
    assert logged_warnings(caplog) == [f"{tmp_path}/out.mp4 has no cover picture: that of {path} is dropped"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_two_runs_write_equal_files(sources: Path, tmp_path: Path, container: str):
    for name in ("one", "two"):
        transcode(sources / "a.mkv", tmp_path / f"{name}{container}")
    assert (tmp_path / f"one{container}").read_bytes() == (tmp_path / f"two{container}").read_bytes()


def test_a_file_without_extras_has_none(tmp_path: Path):
    extras = open_video(make_video(tmp_path / "a.mp4", moving(3), sounds=[Tone("aac")])).info.extras
    assert (extras.subtitles, extras.chapters, dict(extras.tags), extras.attachments) == ((), (), {}, ())
    assert not extras.unsupported


@pytest.mark.parametrize("language", ["deu", "nld", "swe", "zho"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_languages_are_kept_though_quicktime_has_codes_of_its_own(tmp_path: Path, container: str, language: str):
    path = make_video(tmp_path / "a.mp4", moving(3), sounds=[Tone("aac", language=language)])
    transcode(path, tmp_path / f"out{container}")
    quicktime = {"deu": "ger", "nld": "dut", "swe": "sve", "zho": "chi"}
    wanted = quicktime[language] if container == ".mov" else language
    assert tracks(tmp_path / f"out{container}", "audio", lambda one: one.language) == [wanted]
