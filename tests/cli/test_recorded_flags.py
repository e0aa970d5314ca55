"""The JSON of a run repeats it, and of its flags only those reach a run of another kind that mean something there."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from msst_jax.cli.recorded_flags import add_recorded, leave_out_alien
from msst_jax.cli.stylize_job import StylizeFlags
from tests.helpers.commands import run_command
from tests.helpers.pictures import make_scene, noise, save
from tests.helpers.videos import make_video, moving


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_scene(tmp_path)
    make_video(tmp_path / "in.mp4", moving(4))
    (tmp_path / "frames").mkdir()
    for number in range(3):
        save(tmp_path / "frames" / f"{number}.png", noise(32, 48, number))
    return tmp_path


def run(scene: Path, model: Path, *arguments: str) -> dict[str, Any]:
    """Runs stylize.py with a model; the JSON beside its output."""
    flags = [f"--model={model}", "--mask=person=left.png"]
    code, printed = run_command([*arguments, *flags], scene)
    assert code == 0, printed
    (output,) = (argument.removeprefix("-o=") for argument in arguments if argument.startswith("-o="))
    return json.loads((scene / output).with_suffix(".json").read_text())


def again(scene: Path, record: str, *arguments: str) -> list[str]:
    """Runs stylize.py with the JSON of a run; the lines that it prints."""
    code, printed = run_command([f"--config={record}", *arguments], scene)
    assert code == 0, printed
    return printed.splitlines()


def content(output: Path) -> Any:
    return {file.name: file.read_bytes() for file in output.iterdir()} if output.is_dir() else output.read_bytes()


FOLDERS = [(ending, rate) for ending in (".mp4", ".gif", "") for rate in ("--rate=25", "--rate=12")]


@pytest.mark.parametrize(("ending", "rate"), [*FOLDERS, (".mp4", "--quality=20")])
def test_the_json_of_a_folder_of_frames_repeats_the_video(scene: Path, model: Path, ending: str, rate: str):
    first = run(scene, model, "frames", rate, f"-o=out{ending}")
    assert not [line for line in again(scene, "out.json", f"-o=again{ending}") if "left out" in line]
    assert content(scene / f"again{ending}") == content(scene / f"out{ending}")
    assert json.loads((scene / "again.json").read_text())["clip"] == first["clip"]


LEFT_OUT = "left out of the JSON given as --config, since it does not fit this run: "


def test_the_json_of_a_video_stylizes_a_photo_with_what_fits_one(scene: Path, model: Path):
    run(scene, model, "in.mp4", "--blend=0.25", "--start=0.04", "--end=0.12", "--quality=30", "-o=video.mp4")
    lines = again(scene, "video.json", "photo.png", "--mask=person=left.png", "-o=out.png")
    assert LEFT_OUT + "--start, --end, --quality" in lines
    assert json.loads((scene / "out.json").read_text())["blend_ratio"] == 0.25
    run(scene, model, "photo.png", "--blend=0.25", "-o=wanted.png", "--config=video")
    assert content(scene / "out.png") == content(scene / "wanted.png")


def test_the_json_of_a_video_makes_regions_of_a_photo(scene: Path, model: Path):
    run(scene, model, "in.mp4", "--blend=0:0,1:1", "-o=video.mp4")
    lines = again(scene, "video.json", "photo.png", "--regions-only", "--segmenter=person_vgg16", "-o=out.png")
    assert LEFT_OUT + "--model, --blend" in lines


def test_a_blend_that_changes_is_none_of_a_photo(scene: Path, model: Path):
    run(scene, model, "in.mp4", "--blend=0:0,1:1", "-o=video.mp4")
    assert LEFT_OUT + "--blend" in again(scene, "video.json", "photo.png", "--mask=person=left.png", "-o=out.png")
    assert json.loads((scene / "out.json").read_text())["blend_ratio"] == 0


@pytest.mark.slow
def test_the_json_of_a_photo_stylizes_a_video_with_what_fits_one(scene: Path, model: Path):
    flags = ["--quality=40", "--subsampling=4:2:0", "--metadata=none"]
    run(scene, model, "photo.png", "--blend=0.25", *flags, "-o=photo.jpg")
    lines = again(scene, "photo.json", "in.mp4", "--mask=person=left.png", "-o=out.mp4")
    assert LEFT_OUT + "--metadata, --subsampling, --quality" in lines
    assert json.loads((scene / "out.json").read_text())["blend"] == {"seconds": [0.0], "ratios": [0.25]}


@pytest.mark.slow
def test_several_blends_of_a_photo_are_none_of_a_video(scene: Path, model: Path):
    run(scene, model, "photo.png", "--blend=0,0.5", "-o=several.png")
    lines = again(scene, "several.json", "in.mp4", "--mask=person=left.png", "-o=out.mp4")
    assert LEFT_OUT + "--blend" in lines


def test_the_rate_of_a_folder_is_none_of_a_file(scene: Path, model: Path):
    run(scene, model, "frames", "--rate=12", "-o=video.mp4")
    assert LEFT_OUT + "--rate" in again(scene, "video.json", "in.mp4", "--mask=person=left.png", "-o=out.mp4")


def test_what_the_command_line_gives_is_never_left_out(scene: Path, model: Path):
    run(scene, model, "in.mp4", "-o=video.mp4")
    code, printed = run_command(["--config=video.json", "photo.png", "--start=1", "-o=out.png"], scene)
    assert (code, printed) == (
        2,
        "stylize.py: --start is for videos; give a video file, or a folder of frames with -o out.mp4\n",
    )


def test_a_start_is_recorded_to_the_last_digit(scene: Path, model: Path):
    """One digit less would round it past the second frame, at 1/24 s."""
    make_video(scene / "film.mp4", moving(4), rate=Fraction(24))
    first = run(scene, model, "film.mp4", "--start=0.0416666", "-o=out.mp4")
    again(scene, "out.json", "-o=again.mp4")
    assert first["clip"]["frames"] == 3
    assert content(scene / "again.mp4") == content(scene / "out.mp4")


@pytest.mark.parametrize("change", [{"seed": "x"}, {"flags": {"quality": [1]}}, {"flags": {"metadata": "some"}}])
def test_a_recorded_flag_of_another_type_is_one_line(scene: Path, model: Path, change: dict[str, Any]):
    record = run(scene, model, "photo.png", "-o=out.png")
    (scene / "bad.json").write_text(json.dumps({**record, **change}))
    code, printed = run_command(["--config=bad.json", "-o=again.png"], scene)
    assert code == 2
    assert printed.startswith("stylize.py: the JSON given as --config has a flag with a wrong value (")
    assert printed.count("\n") == 1


SWEEP, BLENDS = {"sweep": ["content_weight=1,2", "stroke_size=1,2"], "blend": "0.1"}, {"blend": "0,0.4"}


@pytest.mark.parametrize(
    ("recorded", "photo", "typed", "fields", "left_out"),
    [
        (SWEEP, "photo.png", {}, ("tv_weight",), ""),
        (SWEEP, ".", {}, (), "--sweep"),
        (SWEEP, "photo.png", {"compare": True}, (), "--sweep"),
        (SWEEP, "photo.png", {"stroke_size": 2.0}, (), "--sweep"),
        (SWEEP, "photo.png", {}, ("content_weight",), "--sweep"),
        ({"sweep": SWEEP["sweep"]}, "photo.png", {"blend": "0,1"}, (), "--sweep"),
        ({"sweep": ["blend_ratio=0,1"]}, "photo.png", {"blend": "0.3"}, (), "--sweep"),
        ({"sweep": ["blend_ratio=0,1"], "blend": "0.3"}, "photo.png", {}, (), ""),
        (BLENDS, ".", {}, (), "--blend"),
        (BLENDS, "photo.png", {"sweep": ["size=24,32"]}, (), "--blend"),
        (BLENDS, "photo.png", {"compare": True}, (), ""),
    ],
)
def test_recorded_sheets_give_way_to_the_command_line(
    scene: Path,
    recorded: dict[str, Any],
    photo: str,
    typed: dict[str, Any],
    fields: tuple[str, ...],
    left_out: str,
    caplog: pytest.LogCaptureFixture,
):
    flags = add_recorded(StylizeFlags(**typed), recorded)
    with caplog.at_level("INFO", logger="absl"):
        kept = leave_out_alien(flags, recorded, [str(scene / photo)], fields)
    said = [line for line in caplog.messages if "left out" in line]
    assert said == ([LEFT_OUT + left_out] if left_out else [])
    for name, value in recorded.items():
        assert getattr(kept, name) == (getattr(StylizeFlags(), name) if f"--{name}" == left_out else value)
