"""Any clip a person may have is read as what a player shows, at the exact times, or refused in one line."""

import logging
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.video.io.reader import open_video
from tests.helpers.clips import FILM, NTSC, UNEVEN, Tone, make_clip, make_sound, moving, steady, stored
from tests.helpers.pictures import noise, save

GREEN = (20, 200, 60)


def flat(color: tuple[int, ...], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, len(color)), color, np.uint8)


def images_of(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in open_video(path).frames()]


def times_of(path: Path) -> list[Fraction]:
    return [frame.time for frame in open_video(path).frames()]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("name", "rate", "time_base", "codec", "count"),
    [
        ("a.mp4", NTSC, None, "libx264", 12),
        ("a.mp4", Fraction(25), None, "libx264", 1),
        ("a.mkv", FILM, None, "libx264", None),
        ("a.webm", NTSC, None, "libvpx-vp9", None),
        ("a.ts", FILM, Fraction(1, 90000), "libx264", None),
        ("a.avi", NTSC, None, "mpeg4", 12),
        ("a.gif", Fraction(10), Fraction(1, 100), "gif", 12),
    ],
)
def test_frames_come_at_multiples_of_the_rate_however_coarse_the_clock_of_the_file(
    tmp_path: Path, name: str, rate: Fraction, time_base: Fraction | None, codec: str, count: int | None, caplog
):
    form = "rgb8" if codec == "gif" else "yuv420p"
    pictures = moving(count or 12)
    path = make_clip(tmp_path / name, pictures, rate=rate, time_base=time_base, codec=codec, form=form)
    clip = open_video(path)
    frames = list(clip.frames())
    assert [frame.time for frame in frames] == steady(len(pictures), rate)
    assert {frame.duration for frame in frames} == {1 / rate}
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert (clip.info.width, clip.info.height) == (64, 48)
    assert (clip.info.rate, clip.info.frames) == (rate, count)
    assert abs(clip.info.duration - len(pictures) / rate) <= 1 / rate
    assert all((frame.time / clip.info.time_base).denominator == 1 for frame in frames)
    assert not warnings_of(caplog)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
def test_a_variable_frame_rate_stays_variable(tmp_path: Path, name: str, codec: str):
    path = make_clip(tmp_path / name, moving(10), UNEVEN, codec=codec, time_base=Fraction(1, 1000))
    assert times_of(path) == UNEVEN


def test_each_reading_begins_anew_and_gives_the_same(tmp_path: Path):
    clip = open_video(make_clip(tmp_path / "a.mp4", moving(5)))
    first = clip.frames()
    next(first)
    assert [frame.time for frame in clip.frames()] == steady(5, Fraction(25))
    np.testing.assert_array_equal(next(first).image, list(clip.frames())[1].image)


def test_frames_before_the_sound_or_after_it_keep_their_distance(tmp_path: Path):
    late = [time + Fraction(1, 5) for time in steady(5, Fraction(25))]
    path = make_clip(tmp_path / "a.mkv", moving(5), late, time_base=Fraction(1, 1000), sounds=[Tone("libopus")])
    assert times_of(path) == late
    path = make_clip(tmp_path / "b.mkv", moving(5), late, time_base=Fraction(1, 1000))
    assert times_of(path) == steady(5, Fraction(25))


def test_frames_that_an_mp4_hides_at_its_beginning_are_not_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    times = [time - Fraction(1, 5) for time in steady(15, Fraction(25))]
    clip = open_video(make_clip(tmp_path / "a.mp4", moving(15), times))
    assert [frame.time for frame in clip.frames()] == steady(10, Fraction(25))
    assert (clip.info.frames, clip.info.duration) == (10, Fraction(10, 25))
    assert not warnings_of(caplog)


def test_time_stamps_that_jump_back_go_on_at_the_rate_and_another_size_is_fitted(tmp_path: Path):
    one = make_clip(tmp_path / "one.ts", [flat(GREEN)] * 4, time_base=Fraction(1, 90000))
    two = make_clip(tmp_path / "two.ts", [flat(GREEN, 96, 128)] * 4, time_base=Fraction(1, 90000))
    path = tmp_path / "a.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    frames = list(open_video(path).frames())
    assert [frame.time for frame in frames] == steady(8, Fraction(25))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    np.testing.assert_allclose(frames[-1].image[20, 20], GREEN, atol=4)


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gbrp10le", "gray"])
@pytest.mark.parametrize(("height", "width"), [(47, 33), (48, 33), (47, 34), (32, 32)])
def test_every_pixel_of_odd_sizes_and_of_10_bits_is_right(tmp_path: Path, form: str, height: int, width: int):
    color = (90, 90, 90) if form == "gray" else GREEN
    (image,) = images_of(make_clip(tmp_path / "a.mkv", [flat(color, height, width)], codec="ffv1", form=form))
    assert image.shape == (height, width, 3)
    np.testing.assert_allclose(image.astype(int), flat(color, height, width), atol=3)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_rotation_that_the_file_asks_for_is_applied(tmp_path: Path, degrees: int, mirrored: bool):
    picture = noise(48, 64)
    path = make_clip(tmp_path / "a.mp4", [picture], form="yuv444p", rotation=(degrees, mirrored))
    expected = np.rot90(picture, degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    clip = open_video(path)
    (frame,) = clip.frames()
    assert (clip.info.height, clip.info.width) == frame.image.shape[:2] == expected.shape[:2]
    assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_the_shape_of_pixels_turns_with_the_picture(tmp_path: Path):
    ratio = Fraction(4, 3)
    upright = make_clip(tmp_path / "a.mp4", moving(2), sample_aspect_ratio=ratio)
    turned = make_clip(tmp_path / "b.mp4", moving(2), sample_aspect_ratio=ratio, rotation=(90,))
    assert open_video(upright).info.pixel_aspect == ratio
    assert open_video(turned).info.pixel_aspect == 1 / ratio


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le"), ("a.mkv", "ffv1", "bgra")],
)
def test_transparent_parts_are_black(tmp_path: Path, name: str, codec: str, form: str):
    picture = flat((*GREEN, 255))
    picture[:24, :, 3], picture[24:, :32, 3] = 0, 128
    options = {"auto-alt-ref": "0", "crf": "5"} if codec == "libvpx-vp9" else {}
    image = images_of(make_clip(tmp_path / name, [picture] * 2, codec=codec, form=form, options=options))[1]
    np.testing.assert_allclose(image[8, 30], (0, 0, 0), atol=3)
    np.testing.assert_allclose(image[40, 10], np.array(GREEN) / 2, atol=4)
    np.testing.assert_allclose(image[40, 50], GREEN, atol=4)


def test_what_a_gif_leaves_open_is_black(tmp_path: Path):
    picture = Image.fromarray(flat((*GREEN, 0)))
    picture.paste((200, 40, 30, 255), (0, 0, 32, 48))
    picture.save(tmp_path / "a.gif")
    (image,) = images_of(tmp_path / "a.gif")
    assert image[20, 50].tolist() == [0, 0, 0]
    np.testing.assert_allclose(image[20, 10], (200, 40, 30), atol=3)


@pytest.mark.parametrize(
    ("tag", "width", "weights", "matrix"),
    [
        (1, 64, (0.2126, 0.0722), 1),
        (5, 64, (0.299, 0.114), 5),
        (6, 1280, (0.299, 0.114), 6),
        (9, 64, (0.2627, 0.0593), 9),
        (2, 64, (0.299, 0.114), 6),
        (2, 1280, (0.2126, 0.0722), 1),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_the_matrix_that_is_tagged_or_else_usual_for_the_size(
    tmp_path: Path, tag: int, width: int, weights: tuple[float, float], matrix: int, full: bool
):
    values = stored(GREEN, *weights)
    if full:
        values = (values - [16, 128, 128]) * 255 / np.array([219, 224, 224]) + [0, 128, 128]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25, width=width, height=16, pix_fmt="yuv444p")
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 2 if full else 1
        levels = np.round(values).astype(np.uint8)[:, None, None]
        frame = av.VideoFrame.from_ndarray(np.tile(levels, (1, 16, width)), format="yuv444p")
        frame.colorspace, frame.color_range = tag, 2 if full else 1
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = open_video(path)
    assert clip.info.colors.matrix == matrix
    np.testing.assert_allclose(next(clip.frames()).image[8, 8].astype(int), GREEN, atol=2)


def test_a_hdr_clip_is_read_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = make_clip(
        tmp_path / "a.mkv", [flat(GREEN)], form="yuv420p10le", color_trc=16, color_primaries=9, colorspace=9
    )
    assert tuple(open_video(path).info.colors) == (9, 9, 16)
    assert "a.mkv is HDR (PQ)" in caplog.text


def test_the_sound_is_listed(tmp_path: Path):
    sounds = [Tone("aac", 44100, "mono"), Tone("libmp3lame", 48000, "stereo")]
    clip = open_video(make_clip(tmp_path / "a.mp4", moving(5), sounds=sounds))
    assert [tuple(sound) for sound in clip.info.audio_streams] == [(1, "aac", 44100, 1), (2, "mp3", 48000, 2)]


def test_names_that_look_like_addresses_or_patterns_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.mp4", "a%03d.mp4", "-a b.mp4", "ä'\"?.mp4"):
        make_clip(Path(name), moving(2))
        assert len(times_of(Path(name))) == 2


@pytest.fixture(scope="module")
def bad_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    whole = make_clip(folder / "whole.mp4", moving(10), sounds=[Tone("aac")]).read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "text.txt").write_text("no video\n" * 50)
    (folder / "unknown.mp4").write_bytes(whole.replace(b"avc1", b"zzz1"))
    (folder / "no_frame.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])
    (folder / "no_index.mp4").write_bytes(whole[: whole.index(b"moov") - 4] + whole[whole.index(b"mdat") - 4 :])
    make_sound(folder / "sound.m4a", Tone("aac"))
    make_sound(folder / "cover.mp4", Tone("aac"), cover=True)
    (folder / "no_pictures").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "does not exist; check the name"),
        ("empty.mp4", "is empty; give another copy"),
        ("text.mp4", "is no video that can be read, or is damaged; give another copy"),
        ("no_index.mp4", "is no video that can be read, or is damaged; give another copy"),
        ("text.txt", "has no video, nothing that moves; give a video file"),
        ("unknown.mp4", "is in a codec that is not known; convert it to H.264 first"),
        ("no_frame.mp4", "has no frame that can be decoded; give another copy"),
        ("sound.m4a", "has no video, only sound; give a video file"),
        ("cover.mp4", "has no video, only sound; give a video file"),
        ("no_pictures", r"has no pictures \(.jpg, .*\); give a video, or a folder of frames"),
        ("n" * 300 + ".mp4", r"cannot be read \(.*name too long\); give another file"),
    ],
)
def test_a_file_that_is_no_good_video_is_refused_in_one_line(bad_clips: Path, name: str, message: str):
    with pytest.raises(UserError, match=f"^(video )?{re.escape(str(bad_clips))}.* {message}$"):
        open_video(bad_clips / name)


@pytest.mark.parametrize(("name", "total"), [("a.mp4", " of 20"), ("a.mkv", ""), ("a.webm", "")])
def test_of_a_file_cut_short_the_beginning_is_read_and_that_is_said(tmp_path: Path, name: str, total: str, caplog):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = make_clip(tmp_path / name, [noise(48, 64, seed) for seed in range(20)], codec=codec, options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    times = times_of(path)
    assert 5 < len(times) < 18
    assert times == steady(len(times), Fraction(25))
    (warning,) = warnings_of(caplog)
    counted = (
        f"damaged or cut short: {len(times)}{total} frames could be read, to {len(times) / 25:.2f} of 0.80 seconds"
    )
    assert re.search(counted, warning)


def test_what_follows_a_damaged_part_is_read_at_its_time(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    images = [noise(48, 64, seed) for seed in range(20)]
    path = make_clip(tmp_path / "a.mp4", images, options={"g": "5", "bf": "0"})
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle - 1000 : middle + 1000] = bytes(2000)
    path.write_bytes(content)
    frames = list(open_video(path).frames())
    assert frames[0].time == 0
    assert frames[-1].time == Fraction(19, 25)
    assert np.abs(frames[-1].image.astype(int) - images[-1]).mean() < 12
    (warning,) = warnings_of(caplog)
    assert re.search(r"a.mp4 is damaged or cut short: \d+ of 20 frames could be read, to 0.80 of 0.80 seconds", warning)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "frames"
    place.mkdir()
    for number in (10, 2, 1, 9):
        save(place / f"frame_{number}.png", flat((number, 100, 200), 47, 33))
    (place / "notes.txt").write_text("no picture")
    return place


def test_a_folder_of_pictures_is_a_clip_in_the_order_of_their_numbers(folder: Path):
    clip = open_video(folder, NTSC)
    frames = list(clip.frames())
    assert [frame.image[0, 0, 0] for frame in frames] == [1, 2, 9, 10]
    assert [frame.time for frame in frames] == steady(4, NTSC)
    info = clip.info
    assert (info.width, info.height, info.rate, info.frames, info.duration) == (33, 47, NTSC, 4, 4 / NTSC)
    assert open_video(folder).info.rate == 25


def test_a_picture_that_cannot_be_read_is_left_out_and_the_others_keep_their_times(folder: Path, caplog):
    (folder / "frame_2.png").write_bytes(b"no picture")
    assert times_of(folder) == [Fraction(0), Fraction(2, 25), Fraction(3, 25)]
    assert warnings_of(caplog) == [f"{folder}: 3 of 4 frames could be read; left out: frame_2.png"]


def test_transparent_pictures_of_a_folder_are_on_black(tmp_path: Path):
    save(tmp_path / "1.png", flat((*GREEN, 0)))
    assert images_of(tmp_path)[0].max() == 0


def test_a_folder_that_cannot_be_a_clip_is_refused_in_one_line(folder: Path):
    for rate in (0, -25, 10**6):
        with pytest.raises(UserError, match=rf"^the rate of the frames in .* is {rate}.0; give a number up to 1000$"):
            open_video(folder, Fraction(rate))
    save(folder / "frame_3.png", flat(GREEN))
    with pytest.raises(UserError, match=r"^frame .*frame_3.png is 64x48, the first 33x47; make them one size$"):
        images_of(folder)
    for file in folder.glob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"has 5 pictures, none of which can be read; give other copies$"):
        open_video(folder)


@pytest.mark.parametrize(
    ("name", "count", "size", "rate"),
    [
        ("intel_asl_walk.mp4", 89, (640, 480), 30),
        ("davis_parkour.mp4", 100, (854, 480), 24),
        ("davis_dance-twirl.mp4", 90, (854, 480), 24),
    ],
)
def test_real_clips_are_read_whole(shared: Path, name: str, count: int, size: tuple[int, int], rate: int, caplog):
    clip = open_video(shared / "data" / "video" / name)
    times = [frame.time for frame in clip.frames()]
    assert times == steady(count, Fraction(rate))
    assert (clip.info.width, clip.info.height) == size
    assert not warnings_of(caplog)
