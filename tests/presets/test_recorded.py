"""The JSON of a run as its config and flags; anything else is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from msst_jax.errors import UserError
from msst_jax.presets.lookup import preset_path
from msst_jax.presets.recorded import read_recorded_run

CONFIG = {"styles": ["person=a.png"], "segmenter": "", "photo": "", "size": 32}


def written(folder: Path, content: Any) -> Path:
    path = folder / "out.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        ({"seed": 7, "blend_ratio": 0.3}, {"seed": 7, "model": "", "blend": "0.3"}),
        ({"seed": 0, "blend_ratio": [0.0, 0.5]}, {"seed": 0, "model": "", "blend": "0.0,0.5"}),
        (
            {"blend": {"seconds": [0.0, 5.0], "ratios": [0.0, 1.0]}, "model": {"name": "runs/x", "training": {}}},
            {"seed": 0, "model": "runs/x", "blend": "0.0:0.0,5.0:1.0"},
        ),
        ({"shares": {"person": 0.3}, "masks": {"person": "out_person.png"}}, {"regions-only": True}),
    ],
    ids=["photo", "blend list", "video with a model", "regions"],
)
def test_flags_are_those_that_repeat_the_run(tmp_path: Path, record: dict[str, Any], flags: dict[str, Any]):
    run = read_recorded_run(written(tmp_path, {"photo": "in.png", "config": CONFIG, **record}))
    assert run.flags == flags
    assert run.fields == {**CONFIG, "photo": "in.png", "styles": ("person=a.png",)}


def test_the_segmenter_of_the_run_is_used_although_another_may_be_the_best_by_now(tmp_path: Path):
    record = {"config": CONFIG, "segmenter": {"name": "person_vgg16", "weights": "x"}}
    assert read_recorded_run(written(tmp_path, record)).fields["segmenter"] == "person_vgg16"


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "default"), ("bfloat16", "bfloat16"), ([3], (3,))])
@pytest.mark.parametrize("more", [{}, {"task": "stylizer"}], ids=["photo", "training"])
def test_the_type_of_an_earlier_version_is_a_precision(
    tmp_path: Path, dtype: Any, precision: Any, more: dict[str, Any]
):
    """A value that was never one is kept, and refused with the others."""
    fields = read_recorded_run(written(tmp_path, {"config": {**CONFIG, **more, "dtype": dtype}})).fields
    assert "dtype" not in fields
    assert fields["precision"] == precision


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as JSON"),
        ('{"config": {', "cannot be read as JSON"),
        ("[1, 2]", "is not the JSON of a run: it has no config"),
        ({"config": {}}, "is not the JSON of a run: it has no config"),
        ({"config": 3}, "is not the JSON of a run: it has no config"),
    ],
)
def test_a_json_of_something_else_is_one_line(tmp_path: Path, content: Any, message: str):
    with pytest.raises(UserError, match=message):
        read_recorded_run(written(tmp_path, content))


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "mine.toml", "mine.txt", "mine.png"])
def test_a_config_of_another_kind_is_one_line(tmp_path: Path, name: str):
    (tmp_path / name).write_text("size: 3\n")
    with pytest.raises(UserError, match=r"ends in neither \.py nor \.json; give a Python file that defines get_config"):
        preset_path(str(tmp_path / name))
