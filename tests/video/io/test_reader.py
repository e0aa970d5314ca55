"""Videos are decoded as players display them, at exact frame times, or rejected with a one-line error."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.video.io.color import BLACK
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.tone_mapping import light_to_pq, tone_map
from tests.helpers.logging_state import logged_warnings
from tests.helpers.pictures import flat, noise
from tests.helpers.videos import (
    FILM,
    NTSC,
    UNEVEN,
    Tone,
    constant_rate_times,
    make_sound,
    make_video,
    moving,
    read_images,
    read_times,
    to_ycbcr,
)

GREEN = (20, 200, 60)


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
def test_constant_rate_times_are_exact_however_coarse_the_time_base_of_the_container(
    tmp_path: Path, name: str, rate: Fraction, time_base: Fraction | None, codec: str, count: int | None, caplog
):
    form = "rgb8" if codec == "gif" else "yuv420p"
    images = moving(count or 12)
    path = make_video(tmp_path / name, images, rate=rate, time_base=time_base, codec=codec, form=form)
    video = open_video(path)
    frames = list(video.frames())
    assert [frame.time for frame in frames] == constant_rate_times(len(images), rate)
    assert {frame.duration for frame in frames} == {1 / rate}
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert (video.info.width, video.info.height) == (64, 48)
    assert (video.info.rate, video.info.frames) == (rate, count)
    assert abs(video.info.duration - len(images) / rate) <= 1 / rate
    assert all((frame.time / video.info.time_base).denominator == 1 for frame in frames)
    assert not logged_warnings(caplog)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
def test_variable_frame_rate_times_are_exact(tmp_path: Path, name: str, codec: str):
    path = make_video(tmp_path / name, moving(10), UNEVEN, codec=codec, time_base=Fraction(1, 1000))
    assert read_times(path) == UNEVEN


def test_every_iteration_starts_at_the_first_frame_independently_of_others(tmp_path: Path):
    video = open_video(make_video(tmp_path / "a.mp4", moving(5)))
    first = video.frames()
    next(first)
    assert [frame.time for frame in video.frames()] == constant_rate_times(5, Fraction(25))
    np.testing.assert_array_equal(next(first).image, list(video.frames())[1].image)


def test_frames_that_start_after_the_audio_keep_their_delay(tmp_path: Path):
    late = [time + Fraction(1, 5) for time in constant_rate_times(5, Fraction(25))]
    path = make_video(tmp_path / "a.mkv", moving(5), late, time_base=Fraction(1, 1000), sounds=[Tone("libopus")])
    assert read_times(path) == late
    path = make_video(tmp_path / "b.mkv", moving(5), late, time_base=Fraction(1, 1000))
    assert read_times(path) == constant_rate_times(5, Fraction(25))


def test_frames_hidden_by_an_mp4_edit_list_do_not_count_as_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    times = [time - Fraction(1, 5) for time in constant_rate_times(15, Fraction(25))]
    video = open_video(make_video(tmp_path / "a.mp4", moving(15), times))
    assert [frame.time for frame in video.frames()] == constant_rate_times(10, Fraction(25))
    assert (video.info.frames, video.info.duration) == (10, Fraction(10, 25))
    assert not logged_warnings(caplog)


def test_timestamps_that_jump_back_continue_at_the_rate_and_a_new_size_is_resized(tmp_path: Path):
    one = make_video(tmp_path / "one.ts", [flat(GREEN)] * 4, time_base=Fraction(1, 90000))
    two = make_video(tmp_path / "two.ts", [flat(GREEN, 96, 128)] * 4, time_base=Fraction(1, 90000))
    path = tmp_path / "a.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    frames = list(open_video(path).frames())
    assert [frame.time for frame in frames] == constant_rate_times(8, Fraction(25))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    np.testing.assert_allclose(frames[-1].image[20, 20], GREEN, atol=4)


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gbrp10le", "gray"])
@pytest.mark.parametrize(("height", "width"), [(47, 33), (48, 33), (47, 34), (32, 32)])
def test_pixels_of_odd_sizes_and_10_bit_formats_are_correct(tmp_path: Path, form: str, height: int, width: int):
    color = (90, 90, 90) if form == "gray" else GREEN
    (image,) = read_images(make_video(tmp_path / "a.mkv", [flat(color, height, width)], codec="ffv1", form=form))
    assert image.shape == (height, width, 3)
    np.testing.assert_allclose(image.astype(int), flat(color, height, width), atol=3)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_rotation_is_applied(tmp_path: Path, degrees: int, mirrored: bool):
    image = noise(48, 64)
    path = make_video(tmp_path / "a.mp4", [image], form="yuv444p", rotation=(degrees, mirrored))
    expected = np.rot90(image, degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    video = open_video(path)
    (frame,) = video.frames()
    assert (video.info.height, video.info.width) == frame.image.shape[:2] == expected.shape[:2]
    assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_the_pixel_aspect_ratio_follows_the_display_rotation(tmp_path: Path):
    ratio = Fraction(4, 3)
    unrotated = make_video(tmp_path / "a.mp4", moving(2), sample_aspect_ratio=ratio)
    rotated = make_video(tmp_path / "b.mp4", moving(2), sample_aspect_ratio=ratio, rotation=(90,))
    assert open_video(unrotated).info.pixel_aspect == ratio
    assert open_video(rotated).info.pixel_aspect == 1 / ratio


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le"), ("a.mkv", "ffv1", "bgra")],
)
def test_alpha_is_composited_over_white_and_kept(tmp_path: Path, name: str, codec: str, form: str):
    rgba = flat((*GREEN, 255))
    rgba[:24, :, 3], rgba[24:, :32, 3] = 0, 128
    options = {"auto-alt-ref": "0", "crf": "5"} if codec == "libvpx-vp9" else {}
    path = make_video(tmp_path / name, [rgba] * 2, codec=codec, form=form, options=options)
    video = open_video(path)
    frame = list(video.frames())[1]
    assert video.info.has_alpha
    assert frame.alpha is not None
    np.testing.assert_allclose(frame.alpha.astype(int), rgba[..., 3], atol=4)
    np.testing.assert_allclose(frame.image[8, 30], (255, 255, 255), atol=3)
    np.testing.assert_allclose(frame.image[40, 10], (np.array(GREEN) + 255) / 2, atol=4)
    np.testing.assert_allclose(frame.image[40, 50], GREEN, atol=4)
    over_black = list(open_video(path, backdrop=BLACK).frames())[1].image  # as of masks
    np.testing.assert_allclose(over_black[8, 30], (0, 0, 0), atol=3)
    np.testing.assert_allclose(over_black[40, 10], np.array(GREEN) / 2, atol=4)


def test_transparent_gif_pixels_are_white(tmp_path: Path):
    gif = Image.fromarray(flat((*GREEN, 0)))
    gif.paste((200, 40, 30, 255), (0, 0, 32, 48))
    gif.save(tmp_path / "a.gif")
    (frame,) = open_video(tmp_path / "a.gif").frames()
    assert frame.image[20, 50].tolist() == [255, 255, 255]
    np.testing.assert_allclose(frame.image[20, 10], (200, 40, 30), atol=3)
    assert frame.alpha is not None
    assert (frame.alpha[20, 50], frame.alpha[20, 10]) == (0, 255)


def test_an_opaque_gif_has_no_alpha_though_its_pixel_format_has(tmp_path: Path):
    Image.fromarray(flat(GREEN)).save(tmp_path / "a.gif")
    video = open_video(tmp_path / "a.gif")
    assert not video.info.has_alpha
    assert next(video.frames()).alpha is None


def test_alpha_follows_the_display_rotation(tmp_path: Path):
    rgba = np.dstack([noise(48, 64), noise(48, 64, 1)[..., 0]])
    video = open_video(make_video(tmp_path / "a.mov", [rgba], codec="qtrle", form="argb", rotation=(90,)))
    np.testing.assert_array_equal(next(video.frames()).alpha, np.rot90(rgba[..., 3]))


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
def test_colors_follow_the_tagged_matrix_or_else_the_default_for_the_size(
    tmp_path: Path, tag: int, width: int, weights: tuple[float, float], matrix: int, full: bool
):
    values = to_ycbcr(GREEN, *weights)
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
    video = open_video(path)
    assert video.info.colors.matrix == matrix
    np.testing.assert_allclose(next(video.frames()).image[8, 8].astype(int), GREEN, atol=2)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_an_hdr_video_is_tone_mapped_to_sdr_and_tagged_so(tmp_path: Path, transfer: int, name: str, caplog):
    signal = {16: light_to_pq(np.array(100.0)), 18: 0.5}[transfer]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="yuv420p10le")
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        frame = av.VideoFrame(64, 48, "yuv420p10le")
        for plane, level in zip(frame.planes, (round(64 + 876 * float(signal)), 512, 512), strict=True):
            plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 1
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    video = open_video(path)
    assert tuple(video.info.colors) == (1, 1, 1)
    image = next(video.frames()).image
    gray = tone_map(np.full((1, 1, 3), round(65535 * float(signal)), np.uint16), transfer)[0, 0]
    np.testing.assert_allclose(image.astype(int), np.broadcast_to(gray, image.shape), atol=2)
    assert logged_warnings(caplog) == [f"video {path} is HDR ({name}): it is tone-mapped to SDR (BT.709)"]


def test_wide_colors_that_are_not_hdr_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = make_video(
        tmp_path / "a.mkv", [flat((120, 120, 120))], form="yuv420p10le", color_trc=14, color_primaries=9, colorspace=9
    )
    video = open_video(path)
    assert tuple(video.info.colors) == (9, 9, 14)
    np.testing.assert_allclose(next(video.frames()).image[20, 20], (120, 120, 120), atol=3)
    assert not logged_warnings(caplog)


def test_audio_streams_are_listed(tmp_path: Path):
    sounds = [Tone("aac", 44100, "mono"), Tone("libmp3lame", 48000, "stereo")]
    video = open_video(make_video(tmp_path / "a.mp4", moving(5), sounds=sounds))
    assert [tuple(audio) for audio in video.info.audio_streams] == [(1, "aac", 44100, 1), (2, "mp3", 48000, 2)]


def test_file_names_that_look_like_urls_or_patterns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.mp4", "a%03d.mp4", "-a b.mp4", "ä'\"?.mp4"):
        make_video(Path(name), moving(2))
        assert len(read_times(Path(name))) == 2


@pytest.fixture(scope="module")
def bad_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    whole = make_video(folder / "whole.mp4", moving(10), sounds=[Tone("aac")]).read_bytes()
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
        ("no_pictures", r"has no images \(.jpg, .*\); give a video, or a folder of frames"),
        ("n" * 300 + ".mp4", r"cannot be read \(.*name too long\); give another file"),
    ],
)
def test_an_unreadable_video_is_a_one_line_error(bad_videos: Path, name: str, message: str):
    with pytest.raises(UserError, match=f"^(video )?{re.escape(str(bad_videos))}.* {message}$"):
        open_video(bad_videos / name)


@pytest.mark.parametrize(("name", "total"), [("a.mp4", " of 20"), ("a.mkv", ""), ("a.webm", "")])
def test_a_truncated_file_is_read_up_to_its_end_with_one_warning(tmp_path: Path, name: str, total: str, caplog):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = make_video(tmp_path / name, [noise(48, 64, seed) for seed in range(20)], codec=codec, options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    times = read_times(path)
    assert 5 < len(times) < 18
    assert times == constant_rate_times(len(times), Fraction(25))
    (warning,) = logged_warnings(caplog)
    expected = (
        f"damaged or cut short: {len(times)}{total} frames could be read, to {len(times) / 25:.2f} of 0.80 seconds"
    )
    assert re.search(expected, warning)


def test_frames_after_damaged_data_are_read_at_their_times_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    images = [noise(48, 64, seed) for seed in range(20)]
    path = make_video(tmp_path / "a.mp4", images, options={"g": "5", "bf": "0"})
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle - 1000 : middle + 1000] = bytes(2000)
    path.write_bytes(content)
    frames = list(open_video(path).frames())
    assert frames[0].time == 0
    assert frames[-1].time == Fraction(19, 25)
    assert np.abs(frames[-1].image.astype(int) - images[-1]).mean() < 12
    (warning,) = logged_warnings(caplog)
    assert re.search(r"a.mp4 is damaged or cut short: \d+ of 20 frames could be read, to 0.80 of 0.80 seconds", warning)


@pytest.mark.parametrize(
    ("name", "count", "size", "rate"),
    [
        ("intel_asl_walk.mp4", 89, (640, 480), 30),
        ("davis_parkour.mp4", 100, (854, 480), 24),
        ("davis_dance-twirl.mp4", 90, (854, 480), 24),
    ],
)
def test_real_videos_are_read_to_their_last_frame(
    shared: Path, name: str, count: int, size: tuple[int, int], rate: int, caplog
):
    video = open_video(shared / "data" / "video" / name)
    times = [frame.time for frame in video.frames()]
    assert times == constant_rate_times(count, Fraction(rate))
    assert (video.info.width, video.info.height) == size
    assert not logged_warnings(caplog)
