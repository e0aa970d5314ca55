"""Written videos have the frame times, size, colors and audio of their source."""

import threading
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import video_writer
from tests.helpers.pictures import noise, save
from tests.helpers.videos import (
    FILM,
    NTSC,
    UNEVEN,
    Tone,
    constant_rate_times,
    first_frame_planes,
    make_video,
    moving,
    sound_packets,
    sound_span,
    to_ycbcr,
    transcode,
)

MILLISECOND = Fraction(1, 1000)
COLORS = [(200, 30, 60), (20, 220, 40), (30, 40, 210), (250, 250, 250), (5, 5, 5), (240, 230, 20)]


def repeat_frame(image: np.ndarray, count: int = 2) -> list[Frame]:
    return [Frame(image, Fraction(index, 25), Fraction(1, 25)) for index in range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("rate", [NTSC, FILM, Fraction(25), Fraction(60)])
@pytest.mark.parametrize("source", ["a.mp4", "a.mkv", "a.webm"])
def test_frame_count_size_rate_and_times_are_preserved(tmp_path: Path, source: str, rate: Fraction, suffix: str):
    codec = "libvpx-vp9" if source == "a.webm" else "libx264"
    path = make_video(tmp_path / source, moving(11), rate=rate, codec=codec)
    video = transcode(path, tmp_path / f"out{suffix}")
    frames = list(video.frames())
    assert [frame.time for frame in frames] == constant_rate_times(11, rate)
    assert video.info.rate == rate
    assert (video.info.width, video.info.height) == (64, 48) == frames[0].image.shape[1::-1]
    assert abs(video.info.duration - 11 / rate) <= (MILLISECOND if suffix == ".webm" else 0)
    for frame, image in zip(frames, moving(11), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 5
    assert {file.name for file in tmp_path.iterdir()} == {source, f"out{suffix}"}


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0), (".webm", MILLISECOND), (".gif", Fraction(1, 200))])
def test_a_variable_frame_rate_is_preserved(tmp_path: Path, suffix: str, tolerance: Fraction):
    times = [time for time in UNEVEN if time != Fraction(231, 1000)]
    path = make_video(tmp_path / "a.mkv", moving(9), times, time_base=MILLISECOND)
    video = transcode(path, tmp_path / f"out{suffix}")
    written = [frame.time for frame in video.frames()]
    assert len(written) == 9
    assert max(abs(one - two) for one, two in zip(written, times, strict=True)) <= tolerance
    assert abs(video.info.duration - (times[-1] + Fraction(1, 25))) <= max(tolerance, MILLISECOND)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".m4v", 0), (".mov", 0), (".mkv", MILLISECOND)])
def test_uneven_frame_times_and_audio_reach_quicktime_and_matroska(tmp_path: Path, suffix: str, tolerance: Fraction):
    path = make_video(
        tmp_path / "a.mp4", moving(10), UNEVEN, time_base=Fraction(1, 30000), sounds=[Tone("aac", seconds=0.7)]
    )
    video = transcode(path, tmp_path / f"out{suffix}")
    wanted = [frame.time for frame in open_video(path).frames()]
    times = [frame.time - next(video.frames()).time for frame in video.frames()]
    assert max(abs(one - two) for one, two in zip(times, wanted, strict=True)) <= tolerance
    assert [data for _, data in sound_packets(tmp_path / f"out{suffix}")] == [data for _, data in sound_packets(path)]


@pytest.mark.parametrize("rate", [Fraction("23.976023976023978"), Fraction(1, 3), Fraction(1000)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_any_rate_of_an_image_sequence_is_preserved(tmp_path: Path, rate: Fraction, suffix: str):
    (tmp_path / "frames").mkdir()
    for index, image in enumerate(moving(3)):
        save(tmp_path / "frames" / f"{index}.png", image)
    source = open_video(tmp_path / "frames", rate)
    with video_writer(tmp_path / f"out{suffix}", source.info) as writer:
        for frame in source.frames():
            writer.write(frame)
    times = [frame.time for frame in open_video(tmp_path / f"out{suffix}").frames()]
    assert max(abs(one - two) for one, two in zip(times, constant_rate_times(3, rate), strict=True)) <= MILLISECOND


def test_a_video_of_one_frame_is_written_in_every_format(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(1), rate=NTSC)
    for suffix in (".mp4", ".webm", ".gif", ""):
        video = transcode(path, tmp_path / f"out{suffix}")
        assert len(list(video.frames())) == 1
    assert open_video(tmp_path / "out.mp4").info.duration == 1 / NTSC


def test_a_first_frame_later_than_the_audio_keeps_its_delay(tmp_path: Path):
    late = [time + Fraction(1, 5) + Fraction(1, 90000) for time in constant_rate_times(5, FILM)]
    path = make_video(tmp_path / "a.ts", moving(5), late, time_base=Fraction(1, 90000), sounds=[Tone("aac", 44100)])
    times = [frame.time for frame in open_video(path).frames()]
    assert times[0] > Fraction(1, 5)
    assert [frame.time for frame in transcode(path, tmp_path / "out.mp4").frames()] == times


@pytest.mark.parametrize("size", [(33, 47), (64, 47), (33, 48)])
def test_an_odd_size_is_kept_with_a_warning_where_players_may_not_support_it(
    tmp_path: Path, size: tuple[int, int], caplog
):
    path = make_video(tmp_path / "a.webm", moving(3, size[1], size[0]), codec="libvpx-vp9")
    video = transcode(path, tmp_path / "out.mp4")
    assert (video.info.width, video.info.height) == size
    assert first_frame_planes(tmp_path / "out.mp4")[0].format.name == "yuv444p"
    warning = f"{tmp_path}/out.mp4 is {size[0]}x{size[1]}: players that require even sides cannot show it"
    assert caplog.messages == [warning]
    caplog.clear()
    video = transcode(path, tmp_path / "out.webm")
    assert (video.info.width, video.info.height) == size
    assert first_frame_planes(tmp_path / "out.webm")[0].format.name == "yuv420p"
    assert not caplog.messages


def test_frames_may_differ_in_size_from_the_source_but_must_match_the_writer(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(2))
    video = transcode(path, tmp_path / "out.mp4", repeat_frame(noise(20, 30)), width=30, height=20)
    assert (video.info.width, video.info.height) == (30, 20)
    with pytest.raises(ValueError, match=r"expected uint8 \(48, 64, 3\), got uint8 \(20, 30, 3\)"):
        transcode(path, tmp_path / "out.mp4", repeat_frame(noise(20, 30)))
    with pytest.raises(ValueError, match="got float64"):
        transcode(path, tmp_path / "out.mp4", repeat_frame(noise(48, 64) / 255))


def test_a_rotated_source_is_written_upright_without_a_display_matrix(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64)] * 2, rotation=(90,), sample_aspect_ratio=Fraction(4, 3))
    video = transcode(path, tmp_path / "out.mp4")
    assert first_frame_planes(tmp_path / "out.mp4")[0].rotation == 0
    assert (video.info.width, video.info.height, video.info.pixel_aspect) == (48, 64, Fraction(3, 4))
    upright = next(open_video(path).frames()).image.astype(int)
    assert np.abs(next(video.frames()).image - upright).mean() < 12


def test_non_square_pixels_are_warned_about_where_the_format_cannot_store_them(tmp_path: Path, caplog):
    path = make_video(tmp_path / "a.mp4", moving(2), sample_aspect_ratio=Fraction(4, 3))
    for suffix in (".mp4", ".m4v", ".mov", ".mkv"):
        assert transcode(path, tmp_path / f"out{suffix}").info.pixel_aspect == Fraction(4, 3)
    assert not caplog.messages
    transcode(path, tmp_path / "out.webm")
    assert "out.webm cannot store the pixel aspect ratio of" in caplog.text


@pytest.mark.parametrize(
    ("source", "tone", "suffix"),
    [
        ("a.mp4", Tone("aac", 44100, "mono"), ".mp4"),
        ("a.mkv", Tone("aac", 48000, "stereo"), ".mp4"),
        ("a.mkv", Tone("libmp3lame", 44100, "stereo"), ".mp4"),
        ("a.mkv", Tone("libopus"), ".mp4"),
        ("a.mkv", Tone("libopus", 48000, "stereo"), ".webm"),
        ("a.mp4", Tone("libopus"), ".webm"),
    ],
)
def test_audio_that_the_container_can_hold_is_copied_byte_for_byte_at_its_time(
    tmp_path: Path, source, tone, suffix, caplog
):
    path = make_video(tmp_path / source, moving(11), sounds=[tone])
    output = tmp_path / f"out{suffix}"
    video = transcode(path, output)
    before, after = sound_packets(path), sound_packets(output)
    assert [data for _, data in after] == [data for _, data in before]
    assert max(abs(one - two) for (one, _), (two, _) in zip(before, after, strict=True)) <= MILLISECOND
    assert video.info.audio_streams == open_video(path).info.audio_streams
    for one, two in zip(sound_span(path), sound_span(output), strict=True):
        assert abs(one - two) <= MILLISECOND
    assert [frame.time for frame in video.frames()] == constant_rate_times(11, Fraction(25))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("source", "tone", "suffix", "codec"),
    [
        ("a.mp4", Tone("aac", 44100, "mono"), ".webm", "opus"),
        ("a.mkv", Tone("ac3", 48000, "5.1"), ".webm", "opus"),
        ("a.mov", Tone("pcm_s16le", 22050, "stereo"), ".mp4", "aac"),
    ],
)
def test_other_audio_is_transcoded_to_the_same_length_and_logged(tmp_path: Path, source, tone, suffix, codec, caplog):
    caplog.set_level("INFO")
    path, output = make_video(tmp_path / source, moving(11), sounds=[tone]), tmp_path / f"out{suffix}"
    (audio,) = transcode(path, output).info.audio_streams
    assert (audio.codec, audio.channels) == (codec, 1 if tone.layout == "mono" else 2)
    for one, two in zip(sound_span(path), sound_span(output), strict=True):
        assert abs(one - two) <= Fraction(2, 100)
    assert f"the audio of {path} is transcoded: {suffix[1:]} cannot hold" in caplog.text


def test_all_audio_streams_are_copied_with_their_languages(tmp_path: Path):
    tones = [Tone("aac", language="eng"), Tone("libmp3lame", language="deu")]
    path = make_video(tmp_path / "a.mp4", moving(11), sounds=tones)
    video = transcode(path, tmp_path / "out.mp4")
    assert [audio.codec for audio in video.info.audio_streams] == ["aac", "mp3"]
    for track in (0, 1):
        assert [data for _, data in sound_packets(tmp_path / "out.mp4", track)] == [
            data for _, data in sound_packets(path, track)
        ]
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert [stream.language for stream in file.streams.audio] == ["eng", "deu"]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_readable_audio_of_a_truncated_file_is_written_with_the_frames(tmp_path: Path, suffix: str):
    path = make_video(tmp_path / "a.mkv", [noise(48, 64, seed) for seed in range(11)], sounds=[Tone("aac")])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    before = list(open_video(path).frames())
    video = transcode(path, tmp_path / f"out{suffix}")
    assert [frame.time for frame in video.frames()] == [frame.time for frame in before]
    assert len(before) < 11
    assert abs(sound_span(path)[1] - sound_span(tmp_path / f"out{suffix}")[1]) < Fraction(2, 100)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_audio_stays_in_sync_when_the_source_clock_restarts_midway(tmp_path: Path, suffix: str):
    part = make_video(tmp_path / "part.ts", moving(12), time_base=Fraction(1, 90000), sounds=[Tone("aac")])
    path = tmp_path / "a.ts"
    path.write_bytes(part.read_bytes() * 3)
    video = transcode(path, tmp_path / f"out{suffix}")
    assert len(list(video.frames())) == 36
    begin, end = sound_span(part)
    assert abs(sound_span(video.info.path)[1] - 3 * (end - begin)) < Fraction(1, 50)


def test_audio_longer_than_the_frames_is_kept_or_cut_at_the_last_frame(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(11), sounds=[Tone("aac", seconds=3)])
    video = open_video(path)
    for ends, seconds in ((False, 3.0), (True, 0.2)):
        with video_writer(tmp_path / "out.mp4", video.info) as writer:
            for frame, _ in zip(video.frames(), range(5), strict=False):
                writer.write(frame)
            writer.trim_audio_to_frames = ends
        assert abs(sound_span(tmp_path / "out.mp4")[1] - seconds) < 0.03


def test_a_source_without_audio_gives_a_video_without_audio(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(3))
    assert transcode(path, tmp_path / "out.mp4").info.audio_streams == ()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(("width", "height", "matrix"), [(64, 48, 6), (33, 47, 6), (1280, 16, 1)])
def test_colors_are_preserved_and_stored_as_tagged(tmp_path: Path, suffix, color, width, height, matrix):
    path = tmp_path / "frames"
    path.mkdir()
    image = np.full((height, width, 3), color, np.uint8)
    save(path / "1.png", image)
    output = tmp_path / f"out{suffix}"
    video = transcode(path, output, crf=1)
    np.testing.assert_allclose(next(video.frames()).image.astype(int), image, atol=3)
    frame, planes = first_frame_planes(output)
    tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    assert tags == (matrix, 1, 1, 1)
    expected = to_ycbcr(color, *((0.299, 0.114) if matrix == 6 else (0.2126, 0.0722)))
    np.testing.assert_allclose([plane[4, 4] for plane in planes], expected, atol=1.6)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_color_tags_of_the_source_are_kept(tmp_path: Path, suffix: str):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 14}
    path = make_video(tmp_path / "a.mkv", [np.full((48, 64, 3), COLORS[0], np.uint8)] * 2, form="yuv420p10le", **tags)
    video = transcode(path, tmp_path / f"out{suffix}")
    assert tuple(video.info.colors) == (9, 9, 14)
    (one, _), (two, _) = video.frames(), open_video(path).frames()
    np.testing.assert_allclose(one.image.astype(int), two.image, atol=3)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_tone_mapped_video_is_tagged_as_sdr(tmp_path: Path, suffix: str):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 18}
    path = make_video(tmp_path / "a.mkv", [np.full((48, 64, 3), COLORS[0], np.uint8)] * 2, form="yuv420p10le", **tags)
    transcode(path, tmp_path / f"out{suffix}")
    frame, _ = first_frame_planes(tmp_path / f"out{suffix}")
    assert (frame.format.name, frame.colorspace, frame.color_primaries, frame.color_trc) == ("yuv420p", 1, 1, 1)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_larger_crf_makes_a_smaller_file(tmp_path: Path, suffix: str):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(5)])
    sizes = []
    for crf in (5, None, 45):
        transcode(path, tmp_path / f"out{suffix}", crf=crf)
        sizes.append((tmp_path / f"out{suffix}").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


def test_an_mp4_has_its_index_first_for_streaming(tmp_path: Path):
    transcode(make_video(tmp_path / "a.mp4", moving(3)), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_a_gif_preserves_colors_and_times_and_loops_forever(tmp_path: Path, size: tuple[int, int]):
    images = [np.full((size[1], size[0], 3), color, np.uint8) for color in COLORS]
    path = make_video(tmp_path / "a.mp4", images, rate=Fraction(10), form="yuv444p")
    frames = [Frame(image, Fraction(index, 10), Fraction(1, 10)) for index, image in enumerate(images)]
    video = transcode(path, tmp_path / "out.gif", frames)
    for frame, expected in zip(video.frames(), frames, strict=True):
        np.testing.assert_allclose(frame.image.astype(int), expected.image, atol=3)
        assert (frame.time, frame.duration) == (expected.time, expected.duration)
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.info["loop"] == 0
        assert gif.n_frames == len(COLORS)


def test_frames_too_fast_for_a_gif_are_dropped_and_the_others_keep_their_times(tmp_path: Path, caplog):
    path = make_video(tmp_path / "a.mp4", moving(20), rate=Fraction(100), sounds=[Tone("aac")])
    video = transcode(path, tmp_path / "out.gif")
    assert [frame.time for frame in video.frames()] == constant_rate_times(10, Fraction(50))
    assert caplog.messages == [
        f"{tmp_path}/out.gif has no audio: that of {path} is dropped",
        "10 frames were dropped: a GIF has at most 50 per second",
    ]


def test_a_folder_of_png_frames_is_lossless(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(3))
    frames = list(open_video(path).frames())
    video = transcode(path, tmp_path / "new" / "frames")
    assert sorted(file.name for file in video.info.path.iterdir()) == ["000001.png", "000002.png", "000003.png"]
    for one, two in zip(video.frames(), frames, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
    (tmp_path / "empty").mkdir()
    assert transcode(path, tmp_path / "empty").info.frames == 3


def test_writers_in_concurrent_threads_do_not_interfere(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", moving(11), sounds=[Tone("aac")])
    video = open_video(path)

    def write(name: str) -> None:
        with video_writer(tmp_path / name, video.info) as writer:
            worker = threading.Thread(target=lambda: [writer.write(frame) for frame in video.frames()])
            worker.start()
            worker.join()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one.mp4", "two.mp4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    assert len(list(open_video(tmp_path / "one.mp4").frames())) == 11


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ""])
def test_written_frames_are_not_kept_in_memory(tmp_path: Path, suffix: str):
    video = open_video(make_video(tmp_path / "a.mp4", moving(20)))
    images: list[weakref.ref[np.ndarray]] = []
    with video_writer(tmp_path / f"out{suffix}", video.info) as writer:
        for frame in video.frames():
            writer.write(frame)
            images.append(weakref.ref(frame.image))
            assert sum(image() is not None for image in images) <= 2


@pytest.mark.parametrize("name", ["intel_asl_walk.mp4", "davis_parkour.mp4"])
def test_real_videos_keep_their_frame_times_and_content(shared: Path, tmp_path: Path, name: str):
    source = open_video(shared / "data" / "video" / name)
    frames = [frame for frame, _ in zip(source.frames(), range(6), strict=False)]
    video = transcode(source.info.path, tmp_path / "out.mp4", frames)
    for one, two in zip(video.frames(), frames, strict=True):
        assert one.time == two.time
        assert np.abs(one.image.astype(int) - two.image).mean() < 4
    assert video.info.rate == source.info.rate
