"""What a config says beside its numbers: styles for any photo, masks for its own; out.json repeats its run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import STYLIZE, TRAIN, run_command, run_script
from tests.helpers.pictures import QUICK, make_scene, noise, save
from tests.helpers.videos import make_video, moving

NUMBERS = [f"--config.{name}={value!r}".replace("'", '"') for name, value in {**QUICK, "steps": 2}.items()]
OWN = """
from msst_jax.configs import photo
def get_config():
    config = photo.get_config()
    config.photo = PHOTO
    config.styles = ("person=a.png", "background=b.png")
    config.masks = ("person=left.png",)
    return config
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_scene(tmp_path)
    save(tmp_path / "other.png", noise(24, 32, 9))
    (tmp_path / "own.py").write_text(OWN.replace("PHOTO", "'photo.png'"))
    (tmp_path / "any.py").write_text(OWN.replace("PHOTO", "''"))
    return tmp_path


def regions(path: Path) -> dict[str, tuple[str, str]]:
    """{region: (style, origin of the mask)} of the JSON beside an output."""
    content = json.loads(path.with_suffix(".json").read_text())
    return {region["name"]: (region["style"], region["origin"]) for region in content["regions"]}


@pytest.mark.parametrize("photo", [[], ["photo.png"], ["./photo.png"]], ids=["none", "own", "own, by another name"])
def test_the_photo_of_a_config_has_its_styles_and_masks(scene: Path, photo: list[str]):
    assert run_command([*photo, "--config=own.py", "-o", "out.png", *NUMBERS], scene)[0] == 0
    assert regions(scene / "out.png") == {"person": ("a.png", "mask"), "background": ("b.png", "rest")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_like_it\n", "fails in line 1 (No module named 'nothing_like_it'); mend it"),
        ("def get_config():\n    return 1 / 0\n", "fails in line 2 (division by zero); mend it"),
        ("def get_config():\n    raise ValueError('no')\n", "fails in line 2 (ValueError: no); mend it"),
        ("def get_config():\n    return {}['a']\n", "fails in line 2 (a); mend it"),
    ],
    ids=["import", "division", "value", "key"],
)
def test_a_config_file_that_fails_is_named_with_the_line(scene: Path, text: str, message: str):
    (scene / "mine.py").write_text(text)
    expected = f"stylize.py: --config mine.py {message}\n"
    assert run_command(["photo.png", "--config=mine.py", "-o", "out.png"], scene) == (2, expected)


def test_a_config_file_without_a_config_is_named(scene: Path):
    """In a process of its own: in this one, the module has the get_config of the config file before."""
    (scene / "mine.py").touch()
    message = "--config mine.py defines no get_config(); let it return a config, as configs/photo.py does"
    assert run_script(["photo.png", "--config=mine.py", "-o", "out.png"], scene) == (2, f"stylize.py: {message}\n")


def test_another_photo_has_its_styles_but_not_its_masks(scene: Path):
    mask = ["--mask=person=middle.png"]
    code, stderr = run_command(["other.png", "--config=own.py", *mask, "-o", "out.png", *NUMBERS], scene)
    assert code == 0, stderr
    assert "the masks of the config are left out: they are of photo.png\n" in stderr
    content = json.loads((scene / "out.json").read_text())
    assert content["masks"] == {"person": "middle.png"}
    assert regions(scene / "out.png") == {"person": ("a.png", "mask"), "background": ("b.png", "rest")}


def test_masks_of_a_config_without_a_photo_are_for_every_photo(scene: Path):
    assert run_command(["other.png", "--config=any.py", "-o", "out.png", *NUMBERS], scene)[0] == 0
    assert regions(scene / "out.png")["person"] == ("a.png", "mask")


def test_styles_on_the_command_line_replace_those_of_the_config(scene: Path):
    styles = ["--style=background=c.png"]
    assert run_command(["other.png", "--config=own.py", *styles, "-o", "out.png", *NUMBERS], scene)[0] == 0
    assert regions(scene / "out.png") == {"background": ("c.png", "rest")}


def test_the_example_gives_its_styles_to_another_photo_if_it_is_named(scene: Path):
    mask = ["--mask=person=left.png"]
    code, stderr = run_command(["other.png", "--config=quickstart", *mask, "-o", "out.png", *NUMBERS], scene)
    assert code == 0, stderr
    assert [Path(style).name for style, _ in regions(scene / "out.png").values()] == ["brush_strokes.jpg", "mosaic.jpg"]


def test_a_video_in_a_config_is_a_video(scene: Path):
    make_video(scene / "in.mp4", moving(2))
    (scene / "own.py").write_text(OWN.replace("PHOTO", "'in.mp4'"))
    code, stderr = run_command(["--config=own.py", "-o", "out.mp4", *NUMBERS, "--config.next_steps=1"], scene)
    compiling = "compiling for 32x24 pixels\n"  # the first frame, and the others
    assert (code, stderr) == (0, f"{2 * compiling}wrote out.mp4: 2 frames\n")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


STYLED = ["--style=person=a.png", "--style=background=b.png", "--mask=person=left.png"]
RUNS = {
    "photo, noise and seed": [*STYLED, "--config.init=noise", "--seed=7", "--blend=0.3", *NUMBERS],
    "several blends": [*STYLED, "--blend=0,0.4", *NUMBERS],
    "sweep": [*STYLED, "--sweep=content_weight=1,2", "--sweep=size=24,32", *NUMBERS[1:]],
    "stroke size": [*STYLED, "--stroke-size=2", *NUMBERS],
    "colors": [*STYLED, "--keep-colours", *NUMBERS],
    "colors of a region": [*STYLED, "--keep-colours=person", *NUMBERS],
    "start": [*STYLED, "--init=other.png", "--config.guided=False", *NUMBERS],
    "mixed paintings": [STYLED[0] + ":3,./other.png", STYLED[1], STYLED[2], *NUMBERS],
    "mixed paintings, an image for each region": [
        STYLED[0] + ":0.1,other.png:.25",
        *STYLED[1:],
        "--config.guided=False",
        *NUMBERS,
    ],
    "kept region": [STYLED[0], "--style=background=keep", STYLED[2], *NUMBERS],
    "model": ["--model=builtin", "--mask=person=left.png", "--config.size=32", "--blend=0.5"],
    "regions": ["--regions-only", "--config.size=48"],
}


@pytest.mark.parametrize("run", RUNS)
def test_the_json_of_a_run_repeats_it_to_the_same_pixels(scene: Path, run: str):
    assert run_command(["photo.png", *RUNS[run], "-o", "first.png"], scene)[0] == 0
    code, stderr = run_command(["--config=first.json", "-o", "again.png"], scene)
    assert code == 0, stderr
    assert "no effect" not in stderr
    np.testing.assert_array_equal(pixels(scene / "again.png"), pixels(scene / "first.png"))
    first, again = (json.loads((scene / f"{name}.json").read_text()) for name in ("first", "again"))
    for key in {"photo", "masks", "seed", "blend_ratio", "loss", "shares", "regions"} & first.keys() - {
        "masks" if run == "regions" else ""
    }:
        assert again[key] == first[key], key


def test_the_json_of_a_run_before_the_guided_look_has_an_image_for_each_region(scene: Path):
    separate = ["--config=photo_separate", "--config.segmenter=person_vgg16"]
    assert run_command([*separate, "photo.png", *RUNS["photo, noise and seed"], "-o", "first.png"], scene)[0] == 0
    content = json.loads((scene / "first.json").read_text())
    for name in ("guided", "stroke_size", "keep_colours", "precondition", "history_dtype"):
        del content["config"][name]
    (scene / "old.json").write_text(json.dumps(content))
    code, stderr = run_command(["--config=old.json", "-o", "again.png"], scene)
    assert code == 0, stderr
    np.testing.assert_array_equal(pixels(scene / "again.png"), pixels(scene / "first.png"))


def test_the_json_of_a_video_repeats_it(scene: Path, model: Path):
    make_video(scene / "in.mp4", moving(3))
    command = ["in.mp4", f"--model={model}", "--mask=person=left.png", "--blend=0:0,1:1"]
    assert run_command([*command, "-o", "first.mp4"], scene)[0] == 0
    code, stderr = run_command(["--config=first.json", "-o", "again.mp4"], scene)
    assert code == 0, stderr
    assert (scene / "again.mp4").read_bytes() == (scene / "first.mp4").read_bytes()


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_the_json_of_a_model_for_any_painting_repeats_it(scene: Path, any_model: Path, ending: str):
    given = "photo.png" if ending == "png" else make_video(scene / "in.mp4", moving(2)).name
    command = [given, f"--model={any_model}", *STYLED, "--stroke-size=0.7", "--config.size=32"]
    code, stderr = run_command([*command, "-o", f"first.{ending}"], scene)
    assert code == 0, stderr
    assert "no effect" not in stderr
    code, stderr = run_command(["--config=first.json", "-o", f"again.{ending}"], scene)
    assert code == 0, stderr
    assert (scene / f"again.{ending}").read_bytes() == (scene / f"first.{ending}").read_bytes()


def test_the_command_line_takes_precedence_over_the_json(scene: Path):
    assert run_command(["photo.png", *RUNS["photo, noise and seed"], "-o", "first.png"], scene)[0] == 0
    changes = ["--config.steps=3", "--seed=8", "--blend=0.1"]
    assert run_command(["other.png", "--config=first.json", *changes, *STYLED[2:], "-o", "again.png"], scene)[0] == 0
    content = json.loads((scene / "again.json").read_text())
    assert (content["photo"], content["seed"], content["blend_ratio"]) == ("other.png", 8, 0.1)
    assert content["evaluations"] == [3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.yaml", "size: 3", "ends in neither .py nor .json"),
        ("x.json", "{", "cannot be read as JSON"),
        ("x.json", '{"config": {"sise": 3}}', "sise"),
        ("x.json", '{"config": {"size": "big"}}', "size"),
        (
            "x.json",
            '{"config": {"dtype": "float16"}}',
            "config.precision is 'float16'; use one of highest, default, bf",
        ),
        ("x.json", '{"config": {"task": "stylizer"}}', "the config is for training; give it to train.py"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_line(scene: Path, name: str, content: str, message: str):
    (scene / name).write_text(content)
    code, stderr = run_command(["photo.png", f"--config={name}"], scene)
    assert code == 2
    assert re.fullmatch(r"stylize\.py: [^\n]*\n", stderr)
    assert message in stderr


NOW = "config.dtype is now config.precision; use one of highest, default, bfloat16"


@pytest.mark.parametrize("flags", [["--config.dtype=bfloat16"], ["--config.dtype", "float32"]])
@pytest.mark.parametrize("script", [STYLIZE, TRAIN])
def test_the_type_of_earlier_versions_is_refused_by_the_name_of_today(tmp_path: Path, flags: list[str], script: Path):
    assert run_command(flags, tmp_path, script) == (2, f"{script.name}: {NOW}\n")


def test_a_config_file_that_sets_the_type_of_earlier_versions_is_told_the_name_of_today(tmp_path: Path):
    (tmp_path / "own.py").write_text(OWN.replace("PHOTO", "''").replace("return", "config.dtype = 'x'\n    return"))
    code, stderr = run_command(["--config=own.py"], tmp_path)
    assert code == 2
    assert re.fullmatch(rf"stylize\.py: --config own\.py fails in line \d+ \({NOW}\); mend it\n", stderr)


def test_the_config_of_a_workdir_trains_with_the_same_numbers(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"config": {"task": "stylizer", "steps": 0}}')
    code, stderr = run_command(["--config=config.json", "--workdir=run", "--photos=."], tmp_path, TRAIN)
    assert (code, stderr) == (2, "train.py: config.steps is 0; it must be an integer of at least 1\n")


PHOTO_MODEL = ["photo.png", "--model=builtin", "--mask=person=left.png"]


def test_the_json_repeats_how_a_picture_is_encoded(scene: Path):
    flags = ["--quality=40", "--subsampling=4:2:0", "--metadata=none"]
    assert run_command([*PHOTO_MODEL, *flags, "-o", "out.jpg"], scene)[0] == 0
    assert run_command(["--config=out.json", "-o", "again.jpg"], scene)[0] == 0
    assert (scene / "again.jpg").read_bytes() == (scene / "out.jpg").read_bytes()
    assert json.loads((scene / "again.json").read_text())["flags"]["metadata"] == "none"


def test_the_json_of_a_jpeg_makes_a_png_too_without_its_quality(scene: Path):
    assert run_command([*PHOTO_MODEL, "--quality=40", "--metadata=none", "-o", "out.jpg"], scene)[0] == 0
    code, stderr = run_command(["--config=out.json", "-o", "again.png"], scene)
    assert code == 0
    assert stderr.endswith("\nwrote again.png\n")
    assert json.loads((scene / "again.json").read_text())["flags"] == {"metadata": "none"}


def test_the_json_of_a_part_of_a_video_repeats_that_part(scene: Path):
    make_video(scene / "in.mp4", moving(6))
    flags = ["--model=builtin", "--mask=person=left.png", "--start=0.05", "--end=0.2", "--quality=30"]
    assert run_command(["in.mp4", *flags, "-o", "out.mp4"], scene)[0] == 0
    assert run_command(["--config=out.json", "-o", "again.mp4"], scene)[0] == 0
    assert (scene / "again.mp4").read_bytes() == (scene / "out.mp4").read_bytes()
    assert run_command(["--config=out.json", "-o", "whole.mp4", "--start=0"], scene)[0] == 0
    assert (scene / "whole.mp4").read_bytes() != (scene / "out.mp4").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bogus": 3}, r"has a field 'bogus', which no config has; remove it"),
        ({"size": "x"}, r"has a value of another type"),
    ],
    ids=["field", "type"],
)
def test_a_json_that_does_not_fit_is_one_short_line(scene: Path, change: dict[str, object], message: str):
    assert run_command([*PHOTO_MODEL, "-o", "out.png"], scene)[0] == 0
    content = json.loads((scene / "out.json").read_text())
    content["config"].update(change)
    (scene / "bad.json").write_text(json.dumps(content))
    code, stderr = run_command(["--config=bad.json"], scene)
    assert code == 2
    assert re.search(message, stderr)
    assert len(stderr) < 300


def test_a_photo_of_the_config_beside_another_has_no_effect_and_that_is_said(scene: Path):
    code, stderr = run_command([*PHOTO_MODEL, "-o", "out.png", "--config.photo=other.png"], scene)
    assert code == 0
    assert "no effect: config.photo, since a photo is given\n" in stderr


def test_an_empty_photo_is_not_the_current_folder(scene: Path):
    assert run_command(["", "--model=builtin"], scene) == (2, "stylize.py: the photo is an empty text; give a path\n")
