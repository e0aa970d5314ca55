"""python -m benchmarks.quality --model: the pictures that fast models make of a set."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import fast_models
from benchmarks.quality.__main__ import main
from benchmarks.quality.comparison import Comparison
from benchmarks.quality.pairs import Pair, read_pairs
from msst_jax.errors import UserError
from msst_jax.io.images import read_picture, to_picture
from msst_jax.transfer.fast_model import open_model
from tests.helpers.feedforward import pictures_of_model
from tests.helpers.pictures import make_scene, noise, save

LINES = (
    "both,photo.png,person=left.png,person=a.png background=b.png",
    "swapped,photo.png,person=left.png,person=b.png background=a.png",
    "whole,photo.png,,background=a.png",
    "other,photo.png,,background=c.png",
)
SIZE = 32

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A set of which the small model knows the paintings of all lines but the last."""
    make_scene(tmp_path)
    (tmp_path / "set.csv").write_text("\n".join(["name,photo,masks,styles", *LINES]) + "\n", encoding="utf-8")
    return tmp_path / "set.csv"


def make(table: Path, model: Path, names: tuple[str, ...] = ()) -> tuple[dict[str, np.ndarray], list[str]]:
    """{name of the line: uint8 picture} by a model, of some lines or all, and the notes."""
    pairs = [pair for pair in read_pairs(table) if not names or pair.name in names]
    models, notes = fast_models.open_models({"ours": str(model)}, pairs)
    made = fast_models.make_pictures("ours", models["ours"], pairs, SIZE, table.parent / "out")
    return {name: np.asarray(read_picture(entry.path)) for name, entry in made.items()}, notes


def test_regions_take_the_model_s_style_of_the_same_file_name_whatever_their_own_name(
    table: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[list[int]] = []

    def paint(_model: object, inputs: fast_models.PhotoInputs, styles: list[int]) -> np.ndarray:
        taken.append(styles)
        return inputs.photo

    monkeypatch.setattr(fast_models, "paint", paint)
    made, notes = make(table, model)
    assert list(made) == ["both", "swapped", "whole"]
    assert taken == [[0, 1], [1, 0], [0]]
    assert notes == ["ours knows the paintings of 3 of 4 photos; its styles are a.png, b.png"]


@pytest.mark.slow
def test_picture_of_a_model_is_what_its_network_makes_at_the_measured_size(table: Path, model: Path) -> None:
    made, _ = make(table, model)
    photo = np.asarray(read_picture(table.parent / "photo.png"))[None]
    left = np.asarray(read_picture(table.parent / "left.png"))[None, ..., 0] / np.float32(255)
    first = {"both": left, "swapped": 1 - left, "whole": np.ones_like(left)}  # where a.png is, the first style
    for name, masks in first.items():
        expected = np.asarray(to_picture(pictures_of_model(model, photo, masks)[0]), np.float32)
        np.testing.assert_allclose(made[name], expected, atol=1)


@pytest.mark.slow
def test_model_for_any_painting_takes_those_of_each_line(table: Path, any_model: Path) -> None:
    made, notes = make(table, any_model)
    assert notes == []
    assert list(made) == [line.split(",")[0] for line in LINES]
    pairs = {pair.name: pair for pair in read_pairs(table)}
    for name in ("both", "other"):
        np.testing.assert_allclose(made[name], alone(any_model, pairs[name]), atol=1)


def alone(any_model: Path, pair: Pair) -> np.ndarray:
    """What a model for any painting makes of a pair when it knows no other paintings."""
    model = open_model(str(any_model), {region: str(file) for region, file in pair.styles.items()}, np.float32)
    inputs = fast_models.read_inputs(fast_models.preset_config("photo", SIZE), pair)
    return np.asarray(to_picture(fast_models.paint(model, inputs, range(len(pair.styles)))), np.float32)


def test_pictures_of_a_model_are_kept_until_its_weights_or_files_change(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[str] = []

    def paint(_model: object, inputs: fast_models.PhotoInputs, _styles: object) -> np.ndarray:
        painted.append(inputs.regions[0].style)
        return inputs.photo

    monkeypatch.setattr(fast_models, "paint", paint)
    own = shutil.copytree(model, tmp_path / "own")
    names = ("both", "whole")
    assert make(table, own, names)[0].keys() == set(names)
    assert len(painted) == 2
    make(table, own, names)
    assert len(painted) == 2
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (tmp_path / "out" / "both.json").write_text("{")
    make(table, own, names)
    assert len(painted) == 4
    save(tmp_path / "left.png", noise(24, 32)[..., 0])
    make(table, own, names)
    assert len(painted) == 5
    record = json.loads((tmp_path / "out" / "both.json").read_text())
    assert record["files"].keys() == {"photo", "mask person", "style person", "style background", "model"}
    assert record["seconds"]["total"] > 0


def test_picture_that_is_not_finite_ends_in_one_line_and_leaves_none(
    table: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_models, "paint", lambda _model, inputs, _styles: np.nan * inputs.photo)
    with pytest.raises(UserError, match="the picture of both is not finite; give another --model"):
        make(table, model)
    assert not (table.parent / "out").exists()


def test_labels_name_the_folders_of_models_and_default_to_their_own_names() -> None:
    texts = ["any", "runs/any2", "runs/best.safetensors", "mine=runs/any2", "~/v1.2/"]
    assert fast_models.parse_models(texts) == {
        "any": "any",
        "any2": "runs/any2",
        "best": "runs/best.safetensors",
        "mine": "runs/any2",
        "v1.2": "~/v1.2/",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x="], "--model 'x=' is not LABEL=NAME"),
        (["--model", "a/b=any"], "--model 'a/b=any' is not LABEL=NAME"),
        (["--model", "."], "--model '.' is not LABEL=NAME"),
        (["--model", "a=b", "--model", "c/a"], "a is given twice"),
        (["--model", "photo=b", "--preset", "photo"], "photo is given twice"),
        (["--model", "gone"], "--model gone: gone does not exist"),
        (["--model", "MODEL"], "has the styles a.png, b.png, which are not in the set"),
    ],
)
def test_bad_models_exit_with_2_and_one_line_before_any_picture(
    arguments: list[str], message: str, table: Path, model: Path, capsys: Capture
) -> None:
    table.write_text("\n".join(["name,photo,masks,styles", LINES[-1]]) + "\n", encoding="utf-8")
    given = [str(model) if argument == "MODEL" else argument for argument in arguments]
    assert main(["--set", str(table), "-o", str(table.parent / "out"), *given]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.quality: [^\n]*\n", error)
    assert message in error
    assert not (table.parent / "out").exists()


def test_models_are_entrants_beside_presets_and_folders(
    table: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def stop(*arguments: Any) -> Comparison:
        _, _, made, folders, _, notes = arguments
        raise UserError(f"{[*made]} {[*folders]} {len(notes)}")

    monkeypatch.setattr("benchmarks.quality.__main__.compare", stop)
    monkeypatch.setattr(fast_models, "paint", lambda _model, inputs, _styles: inputs.photo)
    entrants = ["--model", f"ours={model}", "--pictures", f"peer={table.parent}"]
    assert main(["--set", str(table), "-o", str(table.parent / "out"), "--size", str(SIZE), *entrants]) == 2
    assert "['ours'] ['peer'] 1" in capsys.readouterr().err
    assert sorted(path.name for path in (table.parent / "out" / "ours").glob("*.png")) == [
        "both.png",
        "swapped.png",
        "whole.png",
    ]
