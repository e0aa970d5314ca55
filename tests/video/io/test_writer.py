"""What goes into a clip comes out at its time, in its colours and with its sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import video_writer
from tests.helpers.clips import (
    FILM,
    NTSC,
    UNEVEN,
    Tone,
    make_clip,
    moving,
    planes,
    rewrite,
    sound_packets,
    sound_span,
    steady,
    stored,
)
from tests.helpers.pictures import noise, save

MILLISECOND = Fraction(1, 1000)
COLORS = [(200, 30, 60), (20, 220, 40), (30, 40, 210), (250, 250, 250), (5, 5, 5), (240, 230, 20)]


def of(image: np.ndarray, count: int = 2) -> list[Frame]:
    return [Frame(image, Fraction(number, 25), Fraction(1, 25)) for number in range(count)]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize("rate", [NTSC, FILM, Fraction(25), Fraction(60)])
@pytest.mark.parametrize("source", ["a.mp4", "a.mkv", "a.webm"])
def test_number_size_rate_and_times_of_the_frames_arrive(tmp_path: Path, source: str, rate: Fraction, ending: str):
    codec = "libvpx-vp9" if source == "a.webm" else "libx264"
    path = make_clip(tmp_path / source, moving(11), rate=rate, codec=codec)
    clip = rewrite(path, tmp_path / f"out{ending}")
    frames = list(clip.frames())
    assert [frame.time for frame in frames] == steady(11, rate)
    assert clip.info.rate == rate
    assert (clip.info.width, clip.info.height) == (64, 48) == frames[0].image.shape[1::-1]
    assert abs(clip.info.duration - 11 / rate) <= (MILLISECOND if ending == ".webm" else 0)
    for frame, picture in zip(frames, moving(11), strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 5
    assert {file.name for file in tmp_path.iterdir()} == {source, f"out{ending}"}


@pytest.mark.parametrize(("ending", "clock"), [(".mp4", 0), (".webm", MILLISECOND), (".gif", Fraction(1, 200))])
def test_a_variable_frame_rate_stays_variable(tmp_path: Path, ending: str, clock: Fraction):
    times = [time for time in UNEVEN if time != Fraction(231, 1000)]
    path = make_clip(tmp_path / "a.mkv", moving(9), times, time_base=MILLISECOND)
    clip = rewrite(path, tmp_path / f"out{ending}")
    written = [frame.time for frame in clip.frames()]
    assert len(written) == 9
    assert max(abs(one - two) for one, two in zip(written, times, strict=True)) <= clock
    assert abs(clip.info.duration - (times[-1] + Fraction(1, 25))) <= max(clock, MILLISECOND)


@pytest.mark.parametrize("rate", [Fraction("23.976023976023978"), Fraction(1, 3), Fraction(1000)])
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_any_rate_of_a_folder_arrives(tmp_path: Path, rate: Fraction, ending: str):
    (tmp_path / "frames").mkdir()
    for number, image in enumerate(moving(3)):
        save(tmp_path / "frames" / f"{number}.png", image)
    source = open_video(tmp_path / "frames", rate)
    with video_writer(tmp_path / f"out{ending}", source.info) as writer:
        for frame in source.frames():
            writer.write(frame)
    times = [frame.time for frame in open_video(tmp_path / f"out{ending}").frames()]
    assert max(abs(one - two) for one, two in zip(times, steady(3, rate), strict=True)) <= MILLISECOND


def test_one_frame_is_a_clip(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(1), rate=NTSC)
    for ending in (".mp4", ".webm", ".gif", ""):
        clip = rewrite(path, tmp_path / f"out{ending}")
        assert len(list(clip.frames())) == 1
    assert open_video(tmp_path / "out.mp4").info.duration == 1 / NTSC


def test_a_first_frame_after_the_sound_begins_is_as_late_in_the_output(tmp_path: Path):
    late = [time + Fraction(1, 5) + Fraction(1, 90000) for time in steady(5, FILM)]
    path = make_clip(tmp_path / "a.ts", moving(5), late, time_base=Fraction(1, 90000), sounds=[Tone("aac", 44100)])
    times = [frame.time for frame in open_video(path).frames()]
    assert times[0] > Fraction(1, 5)
    assert [frame.time for frame in rewrite(path, tmp_path / "out.mp4").frames()] == times


@pytest.mark.parametrize("size", [(33, 47), (64, 47), (33, 48)])
def test_an_odd_size_is_kept_and_told_where_players_may_not_show_it(tmp_path: Path, size: tuple[int, int], caplog):
    path = make_clip(tmp_path / "a.webm", moving(3, size[1], size[0]), codec="libvpx-vp9")
    clip = rewrite(path, tmp_path / "out.mp4")
    assert (clip.info.width, clip.info.height) == size
    assert planes(tmp_path / "out.mp4")[0].format.name == "yuv444p"
    told = f"{tmp_path}/out.mp4 is {size[0]}x{size[1]}: players that need even sides do not show it"
    assert messages(caplog) == [told]
    caplog.clear()
    clip = rewrite(path, tmp_path / "out.webm")
    assert (clip.info.width, clip.info.height) == size
    assert planes(tmp_path / "out.webm")[0].format.name == "yuv420p"
    assert not messages(caplog)


def test_the_frames_may_have_another_size_than_the_clip(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(2))
    clip = rewrite(path, tmp_path / "out.mp4", of(noise(20, 30)), width=30, height=20)
    assert (clip.info.width, clip.info.height) == (30, 20)
    with pytest.raises(ValueError, match=r"expected uint8 \(48, 64, 3\), got uint8 \(20, 30, 3\)"):
        rewrite(path, tmp_path / "out.mp4", of(noise(20, 30)))
    with pytest.raises(ValueError, match="got float64"):
        rewrite(path, tmp_path / "out.mp4", of(noise(48, 64) / 255))


def test_a_rotated_clip_is_upright_without_its_tag(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", [noise(48, 64)] * 2, rotation=(90,), sample_aspect_ratio=Fraction(4, 3))
    clip = rewrite(path, tmp_path / "out.mp4")
    assert planes(tmp_path / "out.mp4")[0].rotation == 0
    assert (clip.info.width, clip.info.height, clip.info.pixel_aspect) == (48, 64, Fraction(3, 4))
    upright = next(open_video(path).frames()).image.astype(int)
    assert np.abs(next(clip.frames()).image - upright).mean() < 12


def test_pixels_that_are_not_square_are_told_where_the_format_cannot_say_so(tmp_path: Path, caplog):
    path = make_clip(tmp_path / "a.mp4", moving(2), sample_aspect_ratio=Fraction(4, 3))
    rewrite(path, tmp_path / "out.mp4")
    assert not messages(caplog)
    rewrite(path, tmp_path / "out.webm")
    assert "out.webm cannot say that the pixels of" in caplog.text


@pytest.mark.parametrize(
    ("source", "tone", "ending"),
    [
        ("a.mp4", Tone("aac", 44100, "mono"), ".mp4"),
        ("a.mkv", Tone("aac", 48000, "stereo"), ".mp4"),
        ("a.mkv", Tone("libmp3lame", 44100, "stereo"), ".mp4"),
        ("a.mkv", Tone("libopus"), ".mp4"),
        ("a.mkv", Tone("libopus", 48000, "stereo"), ".webm"),
        ("a.mp4", Tone("libopus"), ".webm"),
    ],
)
def test_sound_that_the_container_holds_arrives_byte_for_byte_at_its_time(tmp_path: Path, source, tone, ending, caplog):
    path = make_clip(tmp_path / source, moving(11), sounds=[tone])
    output = tmp_path / f"out{ending}"
    clip = rewrite(path, output)
    before, after = sound_packets(path), sound_packets(output)
    assert [data for _, data in after] == [data for _, data in before]
    assert max(abs(one - two) for (one, _), (two, _) in zip(before, after, strict=True)) <= MILLISECOND
    assert clip.info.audio_streams == open_video(path).info.audio_streams
    for one, two in zip(sound_span(path), sound_span(output), strict=True):
        assert abs(one - two) <= MILLISECOND
    assert [frame.time for frame in clip.frames()] == steady(11, Fraction(25))
    assert not messages(caplog)


@pytest.mark.parametrize(
    ("source", "tone", "ending", "codec"),
    [
        ("a.mp4", Tone("aac", 44100, "mono"), ".webm", "opus"),
        ("a.mkv", Tone("ac3", 48000, "5.1"), ".webm", "opus"),
        ("a.mov", Tone("pcm_s16le", 22050, "stereo"), ".mp4", "aac"),
    ],
)
def test_other_sound_is_encoded_anew_as_long_as_it_was_and_that_is_told(
    tmp_path: Path, source, tone, ending, codec, caplog
):
    caplog.set_level("INFO")
    path, output = make_clip(tmp_path / source, moving(11), sounds=[tone]), tmp_path / f"out{ending}"
    (sound,) = rewrite(path, output).info.audio_streams
    assert (sound.codec, sound.channels) == (codec, 1 if tone.layout == "mono" else 2)
    for one, two in zip(sound_span(path), sound_span(output), strict=True):
        assert abs(one - two) <= Fraction(2, 100)
    assert f"the sound of {path} is encoded anew: {ending[1:]} holds no" in caplog.text


def test_all_audio_streams_arrive_with_their_languages(tmp_path: Path):
    tones = [Tone("aac", language="eng"), Tone("libmp3lame", language="deu")]
    path = make_clip(tmp_path / "a.mp4", moving(11), sounds=tones)
    clip = rewrite(path, tmp_path / "out.mp4")
    assert [sound.codec for sound in clip.info.audio_streams] == ["aac", "mp3"]
    for track in (0, 1):
        assert [data for _, data in sound_packets(tmp_path / "out.mp4", track)] == [
            data for _, data in sound_packets(path, track)
        ]
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert [stream.language for stream in file.streams.audio] == ["eng", "deu"]


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_of_a_file_cut_short_the_sound_that_is_left_arrives_with_the_frames(tmp_path: Path, ending: str):
    path = make_clip(tmp_path / "a.mkv", [noise(48, 64, seed) for seed in range(11)], sounds=[Tone("aac")])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    before = list(open_video(path).frames())
    clip = rewrite(path, tmp_path / f"out{ending}")
    assert [frame.time for frame in clip.frames()] == [frame.time for frame in before]
    assert len(before) < 11
    assert abs(sound_span(path)[1] - sound_span(tmp_path / f"out{ending}")[1]) < Fraction(2, 100)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_sound_whose_clock_begins_anew_in_the_middle_goes_on_beside_the_frames(tmp_path: Path, ending: str):
    part = make_clip(tmp_path / "part.ts", moving(12), time_base=Fraction(1, 90000), sounds=[Tone("aac")])
    path = tmp_path / "a.ts"
    path.write_bytes(part.read_bytes() * 3)
    clip = rewrite(path, tmp_path / f"out{ending}")
    assert len(list(clip.frames())) == 36
    begin, end = sound_span(part)
    assert abs(sound_span(clip.info.path)[1] - 3 * (end - begin)) < Fraction(1, 50)


def test_sound_longer_than_the_frames_stays_or_ends_with_them_if_asked(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(11), sounds=[Tone("aac", seconds=3)])
    clip = open_video(path)
    for ends, seconds in ((False, 3.0), (True, 0.2)):
        with video_writer(tmp_path / "out.mp4", clip.info) as writer:
            for frame, _ in zip(clip.frames(), range(5), strict=False):
                writer.write(frame)
            writer.sound_ends_with_frames = ends
        assert abs(sound_span(tmp_path / "out.mp4")[1] - seconds) < 0.03


def test_a_clip_without_sound_has_none_afterwards(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(3))
    assert rewrite(path, tmp_path / "out.mp4").info.audio_streams == ()


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(("width", "height", "matrix"), [(64, 48, 6), (33, 47, 6), (1280, 16, 1)])
def test_colours_arrive_and_are_stored_as_the_tag_says(tmp_path: Path, ending, color, width, height, matrix):
    path = tmp_path / "frames"
    path.mkdir()
    image = np.full((height, width, 3), color, np.uint8)
    save(path / "1.png", image)
    output = tmp_path / f"out{ending}"
    clip = rewrite(path, output, crf=1)
    np.testing.assert_allclose(next(clip.frames()).image.astype(int), image, atol=3)
    frame, parts = planes(output)
    tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    assert tags == (matrix, 1, 1, 1)
    expected = stored(color, *((0.299, 0.114) if matrix == 6 else (0.2126, 0.0722)))
    np.testing.assert_allclose([part[4, 4] for part in parts], expected, atol=1.6)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_the_colour_tags_of_the_clip_are_kept(tmp_path: Path, ending: str):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 18}
    path = make_clip(tmp_path / "a.mkv", [np.full((48, 64, 3), COLORS[0], np.uint8)] * 2, form="yuv420p10le", **tags)
    clip = rewrite(path, tmp_path / f"out{ending}")
    assert tuple(clip.info.colors) == (9, 9, 18)
    (one, _), (two, _) = clip.frames(), open_video(path).frames()
    np.testing.assert_allclose(one.image.astype(int), two.image, atol=3)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_larger_crf_makes_a_smaller_file(tmp_path: Path, ending: str):
    path = make_clip(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(5)])
    sizes = []
    for crf in (5, None, 45):
        rewrite(path, tmp_path / f"out{ending}", crf=crf)
        sizes.append((tmp_path / f"out{ending}").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_index_of_an_mp4_comes_first_for_browsers(tmp_path: Path):
    rewrite(make_clip(tmp_path / "a.mp4", moving(3)), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_a_gif_has_the_colours_and_repeats_for_ever(tmp_path: Path, size: tuple[int, int]):
    images = [np.full((size[1], size[0], 3), color, np.uint8) for color in COLORS]
    path = make_clip(tmp_path / "a.mp4", images, rate=Fraction(10), form="yuv444p")
    frames = [Frame(image, Fraction(index, 10), Fraction(1, 10)) for index, image in enumerate(images)]
    clip = rewrite(path, tmp_path / "out.gif", frames)
    for frame, expected in zip(clip.frames(), frames, strict=True):
        np.testing.assert_allclose(frame.image.astype(int), expected.image, atol=3)
        assert (frame.time, frame.duration) == (expected.time, expected.duration)
    with Image.open(tmp_path / "out.gif") as picture:
        assert picture.info["loop"] == 0
        assert picture.n_frames == len(COLORS)


def test_frames_too_fast_for_a_gif_are_left_out_and_the_others_keep_their_times(tmp_path: Path, caplog):
    path = make_clip(tmp_path / "a.mp4", moving(20), rate=Fraction(100), sounds=[Tone("aac")])
    clip = rewrite(path, tmp_path / "out.gif")
    assert [frame.time for frame in clip.frames()] == steady(10, Fraction(50))
    assert messages(caplog) == [
        f"{tmp_path}/out.gif has no sound: that of {path} is left out",
        "10 frames are left out: a GIF has at most 50 a second",
    ]


def test_a_folder_has_every_frame_exactly(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(3))
    frames = list(open_video(path).frames())
    clip = rewrite(path, tmp_path / "made" / "frames")
    assert sorted(file.name for file in clip.info.path.iterdir()) == ["000001.png", "000002.png", "000003.png"]
    for one, two in zip(clip.frames(), frames, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
    (tmp_path / "empty").mkdir()
    assert rewrite(path, tmp_path / "empty").info.frames == 3


@pytest.mark.parametrize("name", ["intel_asl_walk.mp4", "davis_parkour.mp4"])
def test_the_beginning_of_real_clips_is_rewritten(shared: Path, tmp_path: Path, name: str):
    source = open_video(shared / "data" / "video" / name)
    frames = [frame for frame, _ in zip(source.frames(), range(6), strict=False)]
    clip = rewrite(source.info.path, tmp_path / "out.mp4", frames)
    for one, two in zip(clip.frames(), frames, strict=True):
        assert one.time == two.time
        assert np.abs(one.image.astype(int) - two.image).mean() < 4
    assert clip.info.rate == source.info.rate
