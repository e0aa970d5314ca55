"""The evaluation of segmentations: its numbers, and how it refuses bad input."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import segmentation
from msst_jax.models.weights import ASSETS
from tests.segmenters import colour_segmenter

Capture = pytest.CaptureFixture[str]


def pair(folder: Path, name: str, mask: np.ndarray) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    Image.new("RGB", mask.shape[::-1]).save(folder / "images" / f"{name}.jpg")
    picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.save(folder / "masks" / f"{name}.png")


def test_intersection_over_union_by_hand() -> None:
    truth = np.array([[0, 0, 15, 15], [255, 0, 15, 12]])
    found = np.array([[0, 15, 15, 15], [3, 0, 0, 0]])
    counts = segmentation.confusion(truth, found)
    assert counts.sum() == 7
    scores = segmentation.intersection_over_union(counts)
    assert scores[0] == 2 / 5
    assert scores[15] == 2 / 4
    assert scores[12] == 0
    assert np.isnan(scores[3])  # seen only where the mask says nothing
    assert np.isnan(scores).sum() == 18


def test_the_table_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    mask = np.zeros((6, 8), int)
    mask[:, 4:], mask[0] = 15, 255
    pair(tmp_path, "a", mask)
    pair(tmp_path, "b", np.zeros((5, 4), int))

    def all_background(_: object, photo: Image.Image) -> np.ndarray:
        return np.eye(21)[np.zeros(photo.size[::-1], int)]

    monkeypatch.setattr(segmentation, "class_probabilities", all_background)
    monkeypatch.setattr(segmentation, "load", lambda _: None)
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"| background | {40 / 60:.1%} |" in told
    assert "| person | 0.0% |" in told
    assert "| dog | - |" in told
    assert f"| **mean** | **{20 / 60:.1%}** |" in told
    assert "2 photos; 66.7% of the pixels right" in told


@pytest.mark.parametrize(
    ("weights", "data", "told"),
    [
        ("none.safetensors", "good", "cannot be read"),
        ("deeplabv3_resnet50", "good", "python -m convert_weights deeplabv3_resnet50"),
        ("vgg16_relu4_3.safetensors", "good", "are of vgg16"),
        ("fake", "empty", "has no images"),
        ("fake", "unmasked", "every photo needs one of its name"),
        ("fake", "odd", "another size than the photo"),
        ("fake", "colour", "must hold class indices"),
        ("fake", "undecodable", "a.jpg is not a picture that Pillow can read"),
        ("fake", "broken", "a.png cannot be read"),
        ("fake", "strip", "a.jpg: the photo is 100x4, too long a strip"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    weights: str, data: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / data
    folder.mkdir()
    if data != "empty":
        pair(folder, "a", np.zeros((4, 100 if data == "strip" else 4), int))
    mask = folder / "masks" / "a.png"
    if data == "unmasked":
        mask.unlink()
    elif data == "odd":
        Image.new("L", (3, 4)).save(mask)
    elif data == "colour":
        Image.new("RGB", (4, 4)).save(mask)
    elif data == "undecodable":
        (folder / "images" / "a.jpg").write_bytes(b"nothing")
    elif data == "broken":
        mask.write_bytes(mask.read_bytes()[:30] + b"nothing")
    if weights == "fake":
        monkeypatch.setattr(segmentation, "load", lambda _: colour_segmenter())
    elif weights.startswith("vgg16"):
        weights = str(ASSETS / weights)
    assert_refused(["--weights", weights, "--data", str(folder)], told, capsys)


def assert_refused(arguments: list[str], told: str, capsys: Capture, code: int = 2) -> None:
    assert segmentation.main(arguments) == code
    captured = capsys.readouterr()
    assert re.fullmatch(r"benchmarks\.segmentation: [^\n]*\n", captured.err)
    assert told in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--speed", "--size", "0"], "argument --size: '0' is no whole number from 1 up; see python -m benchmarks"),
        (["--speed", "--pairs", "0"], "argument --pairs: '0' is no whole number from 1 up"),
        (["--weights", "x", "--data", ".", "--limit", "0"], "argument --limit: '0' is no whole number from 1 up"),
        (["--weights", "x", "--data", ".", "--limit", "-1"], "argument --limit: '-1' is no whole number from 1 up"),
        (["--weights", "x"], "give --weights and --data, or --speed"),
        (["--speed", "--network", "yolo"], "choose from"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments: list[str], told: str, capsys: Capture) -> None:
    assert_refused(arguments, told, capsys)


def test_programs_that_disagree_end_with_2_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    programs = {"ours": lambda: np.ones(3), "torchvision": lambda: np.zeros(3) + 2}
    monkeypatch.setattr(segmentation, "programs", lambda *_: programs)
    assert_refused(["--speed"], "they differ by 5.0e-01 of the largest score", capsys)


def test_ctrl_c_ends_with_130_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segmentation, "evaluate", interrupted)
    monkeypatch.setattr(segmentation, "load", lambda _: None)
    assert_refused(["--weights", "x", "--data", "."], "interrupted; run again", capsys, code=130)
