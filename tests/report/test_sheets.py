"""Sheets show every picture with its caption, and the JSON beside an output can be read by anything."""

import hashlib
import json
import math
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.files import write_json
from msst_jax.report.sheets import blend_strip, comparison_sheet, inputs_sheet, regions_overlay, sheet
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.inputs import PhotoInputs, Region
from tests.helpers.pictures import noise, quick_config


@pytest.fixture
def inputs() -> PhotoInputs:
    masks = np.zeros((24, 40, 3), np.float32)
    masks[:, :10, 0], masks[:, 10:20, 1], masks[:, 20:, 2] = 1, 1, 1
    styles = [noise(20, 30, seed).astype(np.float32) / 255 for seed in range(3)]
    names = ("dog", "cat", "background")
    regions = tuple(Region(name, f"{name}.jpg", style) for name, style in zip(names, styles, strict=True))
    return PhotoInputs(noise(24, 40).astype(np.float32) / 255, masks, regions)


def has_colour(page: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(page) == colour).all(-1).any())


def test_every_picture_and_caption_of_a_sheet_is_on_the_page():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [("word", Image.new("RGB", (10 + 30 * i, 20), colour)) for i, colour in enumerate(colours)]
    for columns in (0, 1, 2):
        page = sheet(pictures, 40, columns)
        for (_, picture), colour in zip(pictures, colours, strict=True):
            shown = (np.asarray(page) == colour).all(-1)
            assert shown.any(1).sum() == 40
            assert shown.any(0).sum() == picture.width * 2
        assert has_colour(page, (0, 0, 0))


def test_every_region_of_the_overlay_has_a_colour_of_its_own(inputs: PhotoInputs):
    overlay = np.asarray(regions_overlay(inputs._replace(photo=np.full_like(inputs.photo, 0.5))))
    assert len({tuple(overlay[5, x]) for x in (5, 15, 30)}) == 3
    assert (overlay[:, :10] == overlay[0, 0]).all()


def test_sheets_show_what_they_promise(inputs: PhotoInputs):
    red = np.broadcast_to(np.array([1.0, 0, 0]), inputs.photo.shape)
    results = np.stack([inputs.photo, red])
    assert has_colour(inputs_sheet(inputs, red), (255, 0, 0))
    assert has_colour(blend_strip([0, 0.2], results), (255, 0, 0))
    for place in range(4):
        pictures = [inputs.photo] * 4
        pictures[place] = red
        assert has_colour(comparison_sheet(*pictures), (255, 0, 0))


def test_the_sidecar_tells_how_to_make_the_picture_again(inputs: PhotoInputs, tmp_path: Path):
    config = quick_config()
    weights = tmp_path / "vgg16.safetensors"
    weights.write_bytes(b"numbers")
    content = build_sidecar(
        config=config,
        inputs=inputs,
        weights=weights,
        seed=3,
        seconds={"compile": 1.0},
        more="than that",
    )
    assert content["config"] == config.to_dict()
    assert [region["style"] for region in content["regions"]] == ["dog.jpg", "cat.jpg", "background.jpg"]
    assert [region["share"] for region in content["regions"]] == pytest.approx([0.25, 0.25, 0.5])
    assert content["seed"] == 3
    assert content["weights"] == "vgg16.safetensors"
    assert content["weights_sha256"] == hashlib.sha256(b"numbers").hexdigest()
    assert content["versions"]["jax"] == metadata.version("jax")
    assert content["device"].startswith(("cpu", "gpu", "tpu"))
    assert content["more"] == "than that"


def test_numbers_that_are_not_finite_become_null(tmp_path: Path):
    write_json({"loss": [1.0, math.nan, -math.inf], "nested": ({"a": math.inf},)}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"loss": [1.0, None, None], "nested": [{"a": None}]}


def test_json_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^cannot write .*a.json: (Not a dir|File exists)[^\n]*; choose another output$"
    ):
        write_json({}, tmp_path / "file" / "a.json")
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "a.json")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
