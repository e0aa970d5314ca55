"""`preset="out.json"`: the numbers of an earlier run, with the photo, styles and masks of the call."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import msst_jax
from msst_jax.io.images import to_picture
from tests.helpers.commands import run_command
from tests.helpers.pictures import QUICK, make_scene
from tests.helpers.videos import make_video, moving

NUMBERS = [f"--config.{name}={value!r}".replace("'", '"') for name, value in {**QUICK, "steps": 2}.items()]
STYLED = ["--style=person=a.png", "--style=background=b.png", "--mask=person=left.png"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, paintings, a mask, and out.png of a run with its JSON."""
    folder = make_scene(tmp_path_factory.mktemp("scene"))
    flags = ["--config.init=noise", "--seed=7", "--blend=0.3", *NUMBERS]
    assert run_command(["photo.png", *STYLED, *flags, "-o", "out.png"], folder)[0] == 0
    return folder


def again(scene: Path, preset: Path, **options: Any) -> msst_jax.Result:
    styles = {"person": scene / "a.png", "background": scene / "b.png"}
    return msst_jax.stylize(scene / "photo.png", styles, {"person": scene / "left.png"}, preset=preset, **options)


def changed(scene: Path, name: str, fields: dict[str, Any] | None = None, **record: Any) -> Path:
    """The JSON of the run with other values in its config, and beside it."""
    content = json.loads((scene / "out.json").read_text())
    content["config"].update(fields or {})
    (scene / name).write_text(json.dumps({**content, **record}))
    return scene / name


def test_the_json_of_a_run_of_the_command_line_repeats_it_to_the_same_pixels(scene: Path):
    result = again(scene, scene / "out.json")
    assert result.evaluations == 2
    np.testing.assert_array_equal(np.asarray(to_picture(result.picture)), np.asarray(Image.open(scene / "out.png")))


def test_photo_styles_and_masks_of_a_json_need_not_be_there_any_more(scene: Path):
    lost = {"photo": "lost.png", "styles": ["dog=lost.png"], "masks": ["dog=lost.png"]}
    record = changed(scene, "lost.json", lost, photo="lost.png", masks={"dog": "lost.png"})
    np.testing.assert_array_equal(again(scene, record).picture, again(scene, scene / "out.json").picture)


@pytest.mark.parametrize("options", [{"seed": 8}, {"blend": 0.1}, {"blend_ratio": 0.1}, {"steps": 3}, {"size": 24}])
def test_arguments_take_precedence_over_the_json(scene: Path, options: dict[str, Any]):
    first, result = again(scene, scene / "out.json"), again(scene, scene / "out.json", **options)
    assert result.evaluations == options.get("steps", 2)
    assert result.picture.shape != first.picture.shape or np.abs(result.picture - first.picture).max() > 0


def test_a_run_that_enlarged_its_photo_is_repeated_at_its_size(scene: Path):
    record = changed(scene, "large.json", {"size": 40})
    assert again(scene, record).picture.shape == (30, 40, 3)
    assert again(scene, record, size=0).picture.shape == (24, 32, 3)


def test_several_blends_of_a_json_are_left_out_and_that_is_said(scene: Path, caplog: pytest.LogCaptureFixture):
    result = again(scene, changed(scene, "several.json", {"blend_ratio": 0.1}, blend_ratio=[0.0, 0.4]))
    assert "blend 0.0,0.4 of the preset is left out, since it does not fit this run" in caplog.text
    np.testing.assert_array_equal(result.picture, again(scene, scene / "out.json", blend=0.1).picture)


def test_a_preset_may_start_from_a_picture(scene: Path):
    start = Image.open(scene / "c.png")
    record = changed(scene, "start.json", {"init": str(scene / "c.png")})
    wanted = again(scene, scene / "out.json", init=start).picture
    np.testing.assert_array_equal(again(scene, record).picture, wanted)
    assert np.abs(wanted - again(scene, scene / "out.json").picture).max() > 0.01
    lost = changed(scene, "no_start.json", {"init": "lost.png"})
    np.testing.assert_array_equal(again(scene, lost, init=start).picture, wanted)


def test_a_json_of_before_a_field_was_there_has_the_look_of_its_time(scene: Path):
    content = json.loads((scene / "out.json").read_text())
    for name in ("guided", "stroke_size", "keep_colours", "precondition", "history_dtype"):
        del content["config"][name]
    (scene / "old.json").write_text(json.dumps(content))
    wanted = again(scene, scene / "out.json", guided=False, precondition=0.0)
    np.testing.assert_array_equal(again(scene, scene / "old.json").picture, wanted.picture)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"preset .*x\.json cannot be read as JSON"),
        (
            '{"config": {}}',
            r"preset .*x\.json is not the JSON of a run: it has no config; give the one beside an output",
        ),
        ('{"config": {"sise": 3}}', r"the JSON given as preset has a field 'sise', which no config has; remove it"),
        ('{"config": {"size": "big"}}', r"the JSON given as preset has a value of another type"),
        ('{"config": {"task": "stylizer"}}', r"preset .*x\.json'?\)? is for training; give one for photos"),
        ('{"config": {"steps": 0}}', r"^steps is 0; it must be above zero"),
        ('{"config": {"size": 32}, "seed": "x"}', r"seed is 'x'; give an integer of at least 0"),
        ('{"config": {"size": 32}, "blend_ratio": "x"}', r"blend 'x' is neither a number"),
        (
            '{"config": {"segmenter": "sky"}, "imports": ["my_networks.py"]}',
            r"segmenter is 'sky'; .*; the run of the preset had imported my_networks\.py: import it first$",
        ),
    ],
)
def test_a_json_that_cannot_be_used_is_one_line_in_the_callers_words(scene: Path, content: str, message: str):
    (scene / "x.json").write_text(content)
    with pytest.raises(msst_jax.UserError, match=message) as error:
        again(scene, scene / "x.json")
    assert "--" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_blend_of_a_video_is_that_of_the_json_over_time(scene: Path, model: Path):
    make_video(scene / "in.mp4", moving(3))
    flags = [f"--model={model}", "--mask=person=left.png", "--blend=0:0,1:1", "--config.size=32"]
    assert run_command(["in.mp4", *flags, "-o", "out.mp4"], scene)[0] == 0
    masks = {"person": scene / "left.png"}
    made = msst_jax.stylize_video(
        scene / "in.mp4", scene / "again.mp4", masks=masks, model=model, preset=scene / "out.json"
    )
    first, second = (json.loads(path.with_suffix(".json").read_text()) for path in (scene / "out.mp4", made))
    assert second["blend"] == first["blend"] == {"seconds": [0.0, 1.0], "ratios": [0.0, 1.0]}
    assert made.read_bytes() == (scene / "out.mp4").read_bytes()


def test_a_blend_is_not_given_twice_for_a_video(scene: Path):
    with pytest.raises(msst_jax.UserError, match="blend and blend_ratio both say what it is"):
        msst_jax.stylize_video(scene / "in.mp4", scene / "b.mp4", model="builtin", blend=0.1, blend_ratio=0.2)
