"""Videos take paintings as photos do: arrays and Pillow pictures, beside paths."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import msst_jax
from tests.helpers.feedforward import at_batch, interrupt
from tests.helpers.pictures import make_scene, noise, quick_config
from tests.helpers.videos import make_video, moving

ARRAYS = {name: noise(28, 36, seed) for seed, name in enumerate("abc", start=1)}  # the files of `make_scene`


@pytest.fixture(autouse=True)
def place_of_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(folder: Path, left: dict[str, str], output: str, styles: Any, **options: Any) -> tuple[bytes, dict[str, Any]]:
    """The video and its JSON."""
    video = folder / "in.mp4"
    if not video.exists():
        make_video(video, moving(2))
    settings = {"preset": quick_config(steps=1), "next_steps": 1, **options}
    made = msst_jax.stylize_video(video, folder / output, styles, left, **settings)
    return made.read_bytes(), json.loads(made.with_suffix(".json").read_text())


def test_paintings_in_memory_give_the_frames_that_their_files_give(
    tmp_path: Path, left: dict[str, str], place_of_temporary_files: Path
):
    make_scene(tmp_path)
    floats = ARRAYS["b"] / np.float32(255)
    files = {"person": [(tmp_path / "a.png", 2.0), (tmp_path / "b.png", 1.0)], "background": tmp_path / "c.png"}
    given = {"person": [(ARRAYS["a"], 2.0), (floats, 1.0)], "background": Image.fromarray(ARRAYS["c"])}
    wanted, _ = run(tmp_path, left, "files.mp4", files)
    made, record = run(tmp_path, left, "arrays.mp4", given)
    assert made == wanted
    assert [region["style"] for region in record["regions"]] == ["array:2,array:1", "picture"]
    assert record["config"]["styles"] == ["person=array:2,array:1", "background=picture"]
    assert not [*place_of_temporary_files.iterdir()]


def test_an_interrupted_run_goes_on_with_the_same_arrays(
    tmp_path: Path, left: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    styles = {"person": ARRAYS["a"], "background": ARRAYS["b"]}
    with monkeypatch.context() as patched:
        at_batch(patched, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, left, "out.mp4", styles)
    assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(msst_jax.UserError, match=r"was created with another styles \(person of another"):
        run(tmp_path, left, "out.mp4", {**styles, "person": ARRAYS["c"]}, resume=True)
    made, _ = run(tmp_path, left, "out.mp4", styles, resume=True)
    assert made == run(tmp_path, left, "whole.mp4", styles)[0]


@pytest.mark.parametrize(
    ("painting", "message"),
    [
        (ARRAYS["a"] / 1.0, r"styles\['person'\] has values up to 255"),
        (ARRAYS["a"][:3], r"^styles\['person'\]: a picture of 36x3 becomes .*; every side must have at least 16"),
        ([ARRAYS["a"], 3], r"styles\['person'\] is of the type int; give an array"),
    ],
)
def test_a_painting_that_cannot_be_one_is_named_by_its_argument(
    tmp_path: Path, left: dict[str, str], painting: Any, message: str
):
    with pytest.raises(msst_jax.UserError, match=message):
        run(tmp_path, left, "out.mp4", {"person": painting, "background": ARRAYS["b"]})
    assert not (tmp_path / "out.mp4").exists()
