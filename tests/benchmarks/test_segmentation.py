"""The evaluation of segmentations: its numbers, and how it refuses bad input."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import segmentation
from benchmarks.speed import segmentation as segmentation_speed
from msst_jax.models.pretrained import ASSETS
from tests.helpers.segmenters import colour_segmenter, painted, person_segmenter

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


def half_person(height: int, width: int) -> np.ndarray:
    """Classes (H, W): persons right, void in the first row."""
    mask = np.zeros((height, width), int)
    mask[:, width // 2 :], mask[0] = 15, 255
    return mask


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """All is background to the segmenter; whether edges were to be refined is appended to the list."""
    asked: list[bool] = []

    def all_background(_: object, photo: Image.Image, *, refine: bool) -> np.ndarray:
        asked.append(refine)
        return np.eye(21)[np.zeros(photo.size[::-1], int)]

    monkeypatch.setattr(segmentation, "class_probabilities", all_background)
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: colour_segmenter())
    return asked


def test_the_table_over_a_folder(tmp_path: Path, segmenter: list[bool], capsys: Capture) -> None:
    pair(tmp_path, "a", half_person(6, 8))
    pair(tmp_path, "b", np.zeros((5, 4), int))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"| background | {40 / 60:.1%} |" in told
    assert "| person | 0.0% |" in told
    assert "| dog | - |" in told
    assert f"| **mean** | **{20 / 60:.1%}** |" in told
    assert "2 photos; 66.7% of the pixels right" in told
    assert "edges moved onto those of the photo" in told
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path), "--no-refine"]) == 0
    assert "edges not moved onto those of the photo" in capsys.readouterr().out
    assert segmenter == [True, True, False, False]


def paint(folder: Path, name: str, labels: np.ndarray) -> None:
    Image.fromarray(painted(labels)).save(folder / "images" / f"{name}.jpg", quality=100, subsampling=0)


@pytest.mark.parametrize("made", [colour_segmenter, person_segmenter])
def test_persons_are_counted_alone_where_they_are_large(made, tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    """A person of one half is found, one of 1/16 is not, and one of nothing is none."""
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: made())
    for name, columns in (("large", 40), ("small", 5), ("none", 0)):
        labels = np.zeros((40, 80), int)
        labels[:, :columns] = 15
        pair(tmp_path, name, labels)
        paint(tmp_path, name, labels if name == "large" else np.zeros_like(labels))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    large = float(re.search(r"in the 1 photos where it covers more than 10% of the picture: ([\d.]+)%", told)[1])
    every = float(re.search(r"^\| person \| ([\d.]+)% \|$", told, re.MULTILINE)[1])
    assert large > 97
    assert every == pytest.approx(large * 40 / 45, abs=3)


def test_to_a_network_of_persons_all_else_is_background(tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: person_segmenter())
    labels = np.zeros((40, 80), int)
    labels[:, :40], labels[:, 60:] = 15, 12
    pair(tmp_path, "a", labels)
    paint(tmp_path, "a", np.where(labels == 15, 15, 0))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    scores = dict(re.findall(r"^\| (\w+) \| ([\d.]+)% \|$", told, re.MULTILINE))
    assert scores.keys() == {"background", "person"}
    assert min(map(float, scores.values())) > 97
    assert "mean" not in told


def test_without_large_persons_there_is_no_figure(tmp_path: Path, segmenter: list[bool], capsys: Capture) -> None:
    pair(tmp_path, "a", np.zeros((6, 8), int))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    assert "in the 0 photos where it covers more than 10% of the picture: -" in capsys.readouterr().out


def test_the_sheet_shows_evenly_spaced_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: person_segmenter())
    monkeypatch.setattr(segmentation, "SHOWN", 3)
    for index in range(7):
        labels = np.zeros((40, 60), int)
        labels[:, : 10 * index] = 15
        pair(tmp_path, str(index), labels)
        paint(tmp_path, str(index), labels)
    shown: list[tuple[str, Image.Image]] = []
    made = segmentation.sheet
    monkeypatch.setattr(
        segmentation, "sheet", lambda pictures, **more: shown.extend(pictures) or made(pictures, **more)
    )
    page = tmp_path / "sheets" / "page.png"
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path), "--sheet", str(page)]) == 0
    assert [caption for caption, _ in shown] == ["0: 0%, in truth 0%", "3: 50%, in truth 50%", "6: 100%, in truth 100%"]
    assert shown[2][1].getpixel((30, 20)) == pytest.approx((0.4 * 255 + 0.6 * 192, 0.6 * 128, 0.6 * 128), abs=4)
    with Image.open(page) as picture:
        assert picture.height > 256


@pytest.mark.parametrize(("name", "told"), [("page.txt", "unknown picture ending"), ("", "it is a folder")])
def test_a_sheet_that_cannot_be_written_is_told_before_the_work(name: str, told: str, tmp_path, segmenter, capsys):
    pair(tmp_path, "a", np.zeros((6, 8), int))
    assert_refused(["--weights", "x", "--data", str(tmp_path), "--sheet", str(tmp_path / name)], told, capsys)
    assert not segmenter


@pytest.mark.parametrize(
    ("weights", "data", "told"),
    [
        ("none.safetensors", "good", "cannot be read"),
        ("deeplabv3_resnet50", "good", "python -m convert_weights deeplabv3_resnet50"),
        ("vgg16_relu4_3.safetensors", "good", "holds weights of vgg16"),
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
        monkeypatch.setattr(segmentation, "load_segmenter", lambda _: colour_segmenter())
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
        (["--weights", "x", "--data", ".", "--limit", "0"], "argument --limit: '0' is no whole number from 1 up"),
        (["--weights", "x", "--data", ".", "--limit", "-1"], "argument --limit: '-1' is no whole number from 1 up"),
        (["--weights", "x"], "the following arguments are required: --data; see python -m benchmarks"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments: list[str], told: str, capsys: Capture) -> None:
    assert_refused(arguments, told, capsys)


def test_the_person_network_is_timed_on_the_whole_way_of_a_photo(monkeypatch) -> None:
    monkeypatch.setattr(segmentation_speed, "load_segmenter", lambda _: person_segmenter())
    for start in (segmentation_speed.start_person, segmentation_speed.start_smallest):
        result = start().advance()
        assert result.shape == (384, 512, 21)
        np.testing.assert_allclose(result.sum(-1), 1, atol=1e-5)


def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    pair(tmp_path, "a", np.zeros((6, 8), int))

    def interrupted(*_: object, refine: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segmentation, "class_probabilities", interrupted)
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: None)
    assert_refused(["--weights", "x", "--data", str(tmp_path)], "interrupted; run again", capsys, code=130)
