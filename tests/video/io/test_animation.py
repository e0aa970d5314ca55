"""What is animated is a video, what is not is a picture, whatever the ending; frames, times and transparency."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from msst_jax.errors import UserError
from msst_jax.video.io.animation import BROWSER_DELAY, count_frames
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Part
from tests.helpers.commands import run_command
from tests.helpers.pictures import noise, save

FORMATS = ["gif", "webp", "png", *(["avif"] if features.check("avif") else [])]
DELAYS = [40, 80, 40, 100]  # ms
GRAYS = [0, 60, 120, 180]


def make_animation(path: Path, kind: str, delays: list[int] = DELAYS) -> Path:
    first, *others = [Image.fromarray(np.full((32, 48, 3), gray, np.uint8)) for gray in GRAYS[: len(delays)]]
    first.save(path, kind, save_all=True, append_images=others, duration=delays)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_frame_of_an_animation_has_its_time_and_its_pixels(tmp_path: Path, kind: str):
    path = make_animation(tmp_path / f"a.{kind}", kind)
    assert count_frames(path) == len(DELAYS)
    video = open_video(path)
    frames = list(video.frames())
    ends = [Fraction(int(end), 1000) for end in np.cumsum(DELAYS)]
    assert [frame.time for frame in frames] == [0, *ends[:-1]]
    np.testing.assert_allclose([frame.image.mean() for frame in frames], GRAYS, atol=3)
    assert (video.info.width, video.info.height) == (48, 32)
    if kind != "gif":
        assert [frame.time + frame.duration for frame in frames] == ends
        assert video.info.frames == len(DELAYS)
        assert video.info.duration == ends[-1]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_still_picture_has_one_frame(tmp_path: Path, kind: str):
    save(tmp_path / f"a.{kind}", noise(32, 48))
    assert count_frames(tmp_path / f"a.{kind}") == 1


def test_pages_of_a_tiff_are_no_frames(tmp_path: Path):
    page = Image.fromarray(noise(32, 48))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    assert count_frames(tmp_path / "a.tif") == 1


def test_what_pillow_does_not_open_is_unknown(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"none")
    assert [count_frames(tmp_path / name) for name in ("a.png", "nowhere.gif", ".")] == [None, None, None]


def test_the_default_image_of_an_animated_png_is_not_a_frame(tmp_path: Path):
    frames = [Image.fromarray(np.full((32, 48, 3), gray, np.uint8)) for gray in (250, 10, 100)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], default_image=True, duration=50)
    assert count_frames(tmp_path / "a.png") == 2
    assert [int(frame.image.mean()) for frame in open_video(tmp_path / "a.png").frames()] == [10, 100]


def test_a_frame_without_a_duration_is_shown_as_long_as_browsers_do(tmp_path: Path):
    video = open_video(make_animation(tmp_path / "a.png", "png", [0, 0]))
    assert [frame.duration for frame in video.frames()] == [Fraction(BROWSER_DELAY, 1000)] * 2


def test_transparency_is_kept_beside_frames_over_the_backdrop(tmp_path: Path):
    frames = [Image.new("RGBA", (48, 32), (200, level, 0, 0)) for level in (0, 90)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=50, blend=0)
    video = open_video(tmp_path / "a.png")
    assert video.info.has_alpha
    for frame in video.frames():
        np.testing.assert_array_equal(frame.image, 255)
        np.testing.assert_array_equal(frame.alpha, np.zeros((32, 48), np.uint8))
    assert not np.stack([frame.image for frame in open_video(tmp_path / "a.png", backdrop="black").frames()]).any()


@pytest.mark.parametrize(
    ("part", "grays", "durations"),
    [
        (Part(), GRAYS, DELAYS),
        (Part(Fraction(1, 25)), GRAYS[1:], DELAYS[1:]),
        (Part(Fraction(1, 100), Fraction(1, 10)), GRAYS[1:2], [60]),
        (Part(end=Fraction(130, 1000)), GRAYS[:3], [40, 80, 10]),
    ],
    ids=["whole", "start", "middle", "end"],
)
def test_a_part_has_the_frames_that_begin_in_it(tmp_path: Path, part: Part, grays: list[int], durations: list[int]):
    frames = list(open_video(make_animation(tmp_path / "a.webp", "webp"), part=part).frames())
    np.testing.assert_allclose([frame.image.mean() for frame in frames], grays, atol=3)
    assert [frame.duration for frame in frames] == [Fraction(one, 1000) for one in durations]
    assert [frame.time for frame in frames] == [Fraction(sum(durations[:index]), 1000) for index in range(len(frames))]


def test_a_part_without_any_frame_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"--start is 9 s, but \S+ is 0\.26 s long; give less$"):
        open_video(make_animation(tmp_path / "a.webp", "webp"), part=Part(Fraction(9)))


def test_a_damaged_animation_is_one_line(tmp_path: Path):
    path = make_animation(tmp_path / "a.webp", "webp")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 20])
    with pytest.raises(UserError, match=r"a\.webp"):
        list(open_video(path).frames())


@pytest.fixture
def command(model: Path, left: dict[str, str]) -> list[str]:
    return [f"--model={model}", f"--mask=person={left['person']}", "--config.size=32"]


@pytest.mark.parametrize("ending", ["own", "png"])
@pytest.mark.parametrize("output", [None, "out.png", "out.gif", "out.mp4", "frames"])
@pytest.mark.parametrize("motion", ["still", "animated"])
@pytest.mark.parametrize("kind", FORMATS)
def test_content_decides_between_picture_and_video(tmp_path: Path, command, kind, motion, output, ending):
    """As every ending of the input, also a wrong one."""
    photo = tmp_path / f"in.{kind if ending == 'own' else ending}"
    if motion == "animated":
        make_animation(photo, kind)
    else:
        Image.fromarray(noise(32, 48)).save(photo, kind)
    chosen = ["-o", output] if output else []
    code, stderr = run_command([photo.name, *command, *chosen], tmp_path)
    makes_video = motion == "animated" and output != "out.png"
    wanted = tmp_path / (output or ("outputs/in.mp4" if makes_video else "outputs/in.png"))
    if motion == "still" and output in ("out.gif", "out.mp4", "frames"):
        assert code == 2
        assert stderr.count("\n") == 1
        assert not wanted.exists()
        return
    assert code == 0, stderr
    assert wanted.exists()
    said = f"{photo.name} has 4 frames: only the first is taken, since the output is a picture"
    assert (said in stderr) == (motion == "animated" and output == "out.png")
    if makes_video and output != "frames":
        assert len(list(open_video(wanted).frames())) == len(DELAYS)
    if makes_video and output == "frames":
        assert len(list(wanted.iterdir())) == len(DELAYS)
