"""stylize.py VIDEO: what is a video by its name, what the command prints, and what it refuses in one line."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from msst_jax.cli.flag_values import parse_frame_rate
from msst_jax.cli.stylize_job import StylizeFlags, check_flags, is_video_path
from msst_jax.errors import UserError
from msst_jax.pipelines.run import run_job
from msst_jax.video.io.reader import open_video
from tests.helpers.commands import run_command, run_script
from tests.helpers.feedforward import video_config, video_job
from tests.helpers.pictures import noise, save
from tests.helpers.videos import NTSC, make_video, moving

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.mark.parametrize(
    ("path", "output", "rate", "is_video"),
    [
        ("a.mp4", None, None, True),
        ("a.MOV", "x", None, True),
        ("a.gif", None, None, True),
        ("a.gif", "x.png", None, False),
        ("a.jpg", None, None, False),
        ("a.mp4", "frame.jpg", None, False),
        ("a.jpg", "x.mp4", None, True),
        (".", "x.mp4", None, True),
        (".", "x", "25", True),
        (".", "x", None, False),
    ],
)
def test_input_and_output_names_decide_between_photo_and_video(
    path: str, output: str | None, rate: str | None, is_video: bool
):
    assert is_video_path(path, output, rate) == is_video


def test_a_video_is_one_whatever_picture_its_name_says(model: Path, tmp_path: Path, left):
    make_video(tmp_path / "a.mp4", moving(2)).rename(tmp_path / "a.jpg")
    mask = f"--mask=person={left['person']}"
    code, printed = run_command(["a.jpg", f"--model={model}", mask, "-o", "out.mp4"], tmp_path)
    assert (code, printed) == (0, "wrote out.mp4: 2 frames\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=builtin"], "a.mp4 is a video, and x.png a picture; give a video, such as -o out.mp4"),
        (
            ["--regions-only"],
            "--regions-only shows the regions of a photo; give a photo, or a frame of the video",
        ),
    ],
    ids=["model", "regions"],
)
def test_a_picture_of_a_video_is_refused_as_such(tmp_path: Path, flags: list[str], message: str):
    make_video(tmp_path / "a.mp4", moving(2))
    assert run_command(["a.mp4", *flags, "-o", "x.png"], tmp_path) == (2, f"stylize.py: {message}\n")
    assert {file.name for file in tmp_path.iterdir()} == {"a.mp4"}


@pytest.mark.parametrize("text", ["0", "-25", "abc", "1/0", "1001", ""])
def test_an_invalid_rate_is_a_one_line_error(text: str):
    with pytest.raises(
        UserError, match=rf"^--rate '{text}' is not a number of frames per second up to 1000; write 25 or"
    ):
        parse_frame_rate(text)
    assert parse_frame_rate("30000/1001") == NTSC
    assert parse_frame_rate("23.976") == Fraction("23.976")


@pytest.mark.parametrize("flag", ["--resume", "--rate=25"])
def test_video_flags_are_rejected_for_a_photo(model: Path, tmp_path: Path, flag: str):
    save(tmp_path / "photo.png", noise(48, 64))
    code, printed = run_command(["photo.png", f"--model={model}", flag, "-o", "out.png"], tmp_path)
    assert code == 2
    name = flag.split("=", maxsplit=1)[0]
    assert printed == f"stylize.py: {name} is for videos; give a video file, or a folder of frames with -o out.mp4\n"
    assert {file.name for file in tmp_path.iterdir()} == {"photo.png"}
    with pytest.raises(UserError, match="--regions-only shows the regions of a photo"):
        check_flags(StylizeFlags(regions_only=True), ["a.mp4"])


@pytest.mark.parametrize("photo", ["a.gif", "a.webp", "a.png"])
@pytest.mark.parametrize("output", ["x.mp4", "x.GIF"])
def test_regions_as_a_video_are_refused_and_a_picture_is_suggested(tmp_path: Path, photo: str, output: str):
    frames = [Image.fromarray(image) for image in moving(3)]
    frames[0].save(tmp_path / photo, save_all=True, append_images=frames[1:])
    message = f"--regions-only writes pictures, and {output} is a video; give a picture, such as -o out.png"
    assert run_command([photo, "--regions-only", "-o", output], tmp_path) == (2, f"stylize.py: {message}\n")
    save(tmp_path / photo, moving(1)[0])
    assert run_command([photo, "--regions-only", "-o", output], tmp_path) == (2, f"stylize.py: {message}\n")


def test_the_command_writes_a_video_and_prints_its_name(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a b%d.mp4", moving(3), rate=NTSC)
    mask = f"--mask=person={left['person']}"
    code, printed = run_script([str(path), f"--model={model}", mask, "--blend=0:0,1:1", "--quality=30"], tmp_path)
    assert (code, printed) == (0, "wrote outputs/a b%d.mp4: 3 frames\n")
    assert open_video(tmp_path / "outputs" / "a b%d.mp4").info.rate == NTSC
    quiet = run_command([str(path), f"--model={model}", mask, "--quiet"], tmp_path)
    assert quiet == (0, "")
    assert {file.name for file in (tmp_path / "outputs").iterdir()} == {"a b%d.mp4", "a b%d.json"}


def test_invalid_jobs_are_rejected(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", moving(2))
    job = video_job(path, tmp_path / "out.mp4", model=str(model), masks=left)
    for change, message in (
        ({"masks": {"dog": left["person"]}}, "has styles for person and the rest; "),
        ({"styles": {"person": left["person"]}}, "has its own styles"),
        ({"model": ""}, "a video needs --style background=FILE, and one for each other region, or --model; found none"),
    ):
        with pytest.raises(UserError, match=message):
            run_job(video_config(), replace(job, **change))
    with pytest.raises(UserError, match="--compare makes a sheet of one photo"):
        check_flags(StylizeFlags(compare=True, output=str(tmp_path / "out.mp4")), [str(path)])
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("more", [[], ["--model=MODEL"]], ids=["optimized", "model"])
def test_one_of_several_is_refused_in_a_video_since_nothing_follows_it(
    tmp_path: Path, any_model: Path, more: list[str]
):
    make_video(tmp_path / "a.mp4", moving(2))
    save(tmp_path / "a.png", noise(28, 36))
    flags = [flag.replace("MODEL", str(any_model)) for flag in more]
    styles = ["--style=person#1=a.png", "--style=background=a.png"]
    code, printed = run_command(["a.mp4", *styles, *flags, "-o", "out.mp4"], tmp_path)
    assert code == 2
    assert "region 'person#1': # counts what is in one photo" in printed.splitlines()[-1]
    code, printed = run_command(["a.mp4", *styles, *flags, "--point=person=3,4", "-o", "out.mp4"], tmp_path)
    assert (code, "--point has no effect on a video" in printed) == (2, True)
    assert not (tmp_path / "out.mp4").exists()
