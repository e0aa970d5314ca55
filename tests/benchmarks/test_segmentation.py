"""benchmarks.quality.segmentation: IoU by hand, the printed table, the sheet, and rejection of bad input."""

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


def save_pair(folder: Path, name: str, mask: np.ndarray) -> None:
    """Saves a black photo and its mask of class indices."""
    for subfolder in ("images", "masks"):
        (folder / subfolder).mkdir(exist_ok=True)
    Image.new("RGB", mask.shape[::-1]).save(folder / "images" / f"{name}.jpg")
    picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.save(folder / "masks" / f"{name}.png")


def test_intersection_over_union_of_a_worked_example() -> None:
    truth = np.array([[0, 0, 15, 15], [255, 0, 15, 12]])
    predicted = np.array([[0, 15, 15, 15], [3, 0, 0, 0]])
    counts = segmentation.confusion(truth, predicted)
    assert counts.sum() == 7
    scores = segmentation.intersection_over_union(counts)
    assert scores[0] == 2 / 5
    assert scores[15] == 2 / 4
    assert scores[12] == 0
    assert np.isnan(scores[3])  # predicted only where the mask is ignored
    assert np.isnan(scores).sum() == 18


def half_person(height: int, width: int) -> np.ndarray:
    """Classes (H, W): person in the right half, the first row ignored."""
    mask = np.zeros((height, width), int)
    mask[:, width // 2 :], mask[0] = 15, 255
    return mask


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Predicts background everywhere; the list records the `refine` argument of each call."""
    refined: list[bool] = []

    def all_background(_: object, photo: Image.Image, *, refine: bool) -> np.ndarray:
        refined.append(refine)
        return np.eye(21)[np.zeros(photo.size[::-1], int)]

    monkeypatch.setattr(segmentation, "class_probabilities", all_background)
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: colour_segmenter())
    return refined


def test_table_shows_iou_and_pixel_accuracy_over_a_folder(
    tmp_path: Path, segmenter: list[bool], capsys: Capture
) -> None:
    save_pair(tmp_path, "a", half_person(6, 8))
    save_pair(tmp_path, "b", np.zeros((5, 4), int))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"| background | {40 / 60:.1%} |" in printed
    assert "| person | 0.0% |" in printed
    assert "| dog | - |" in printed
    assert f"| **mean** | **{20 / 60:.1%}** |" in printed
    assert "2 photos; pixel accuracy 66.7%" in printed
    assert "edges refined; ignored pixels excluded" in printed
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path), "--no-refine"]) == 0
    assert "edges not refined; ignored pixels excluded" in capsys.readouterr().out
    assert segmenter == [True, True, False, False]


def save_photo(folder: Path, name: str, labels: np.ndarray) -> None:
    """Replaces a photo by one in which the segmenters of tests.helpers recognize `labels`."""
    Image.fromarray(painted(labels)).save(folder / "images" / f"{name}.jpg", quality=100, subsampling=0)


@pytest.mark.parametrize("build", [colour_segmenter, person_segmenter])
def test_large_persons_are_scored_separately(build, tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    """A person over half of the image is predicted, one over 1/16 is not; the third photo has none."""
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: build())
    for name, columns in (("large", 40), ("small", 5), ("none", 0)):
        labels = np.zeros((40, 80), int)
        labels[:, :columns] = 15
        save_pair(tmp_path, name, labels)
        save_photo(tmp_path, name, labels if name == "large" else np.zeros_like(labels))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    large = float(re.search(r"in the 1 photos where it covers more than 10% of the image: ([\d.]+)%", printed)[1])
    overall = float(re.search(r"^\| person \| ([\d.]+)% \|$", printed, re.MULTILINE)[1])
    assert large > 97
    assert overall == pytest.approx(large * 40 / 45, abs=3)


def test_other_classes_are_background_for_the_person_network(tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: person_segmenter())
    labels = np.zeros((40, 80), int)
    labels[:, :40], labels[:, 60:] = 15, 12
    save_pair(tmp_path, "a", labels)
    save_photo(tmp_path, "a", np.where(labels == 15, 15, 0))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    scores = dict(re.findall(r"^\| (\w+) \| ([\d.]+)% \|$", printed, re.MULTILINE))
    assert scores.keys() == {"background", "person"}
    assert min(map(float, scores.values())) > 97
    assert "mean" not in printed


def test_without_large_persons_their_score_is_a_dash(tmp_path: Path, segmenter: list[bool], capsys: Capture) -> None:
    save_pair(tmp_path, "a", np.zeros((6, 8), int))
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path)]) == 0
    assert "in the 0 photos where it covers more than 10% of the image: -" in capsys.readouterr().out


def test_sheet_shows_evenly_spaced_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: person_segmenter())
    monkeypatch.setattr(segmentation, "SHEET_PHOTOS", 3)
    for index in range(7):
        labels = np.zeros((40, 60), int)
        labels[:, : 10 * index] = 15
        save_pair(tmp_path, str(index), labels)
        save_photo(tmp_path, str(index), labels)
    shown: list[tuple[str, Image.Image]] = []
    sheet = segmentation.sheet
    monkeypatch.setattr(
        segmentation, "sheet", lambda entries, **keywords: shown.extend(entries) or sheet(entries, **keywords)
    )
    page = tmp_path / "sheets" / "page.png"
    assert segmentation.main(["--weights", "x", "--data", str(tmp_path), "--sheet", str(page)]) == 0
    assert [caption for caption, _ in shown] == [
        "0: 0%, ground truth 0%",
        "3: 50%, ground truth 50%",
        "6: 100%, ground truth 100%",
    ]
    assert shown[2][1].getpixel((30, 20)) == pytest.approx((0.4 * 255 + 0.6 * 192, 0.6 * 128, 0.6 * 128), abs=4)
    with Image.open(page) as picture:
        assert picture.height > 256


@pytest.mark.parametrize(("name", "message"), [("page.txt", "unknown picture ending"), ("", "it is a folder")])
def test_unwritable_sheet_is_rejected_before_segmenting(name: str, message: str, tmp_path, segmenter, capsys):
    save_pair(tmp_path, "a", np.zeros((6, 8), int))
    assert_refused(["--weights", "x", "--data", str(tmp_path), "--sheet", str(tmp_path / name)], message, capsys)
    assert not segmenter


@pytest.mark.parametrize(
    ("weights", "data", "message"),
    [
        ("none.safetensors", "good", "cannot be read"),
        ("deeplabv3_resnet50", "good", "python -m msst_jax.convert_weights deeplabv3_resnet50"),
        ("vgg16_relu4_3.safetensors", "good", "holds weights of vgg16"),
        ("fake", "empty", "has no images"),
        ("fake", "unmasked", "every photo needs a mask of the same name"),
        ("fake", "odd", "a.jpg is 3x4, the photo 4x4; give both the same size"),
        ("fake", "color", "must hold class indices"),
        ("fake", "undecodable", "a.jpg is not a picture that Pillow can read"),
        ("fake", "broken", "a.png cannot be read"),
        ("fake", "strip", "a.jpg: the photo is 100x4, too long a strip"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    weights: str, data: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / data
    folder.mkdir()
    if data != "empty":
        save_pair(folder, "a", np.zeros((4, 100 if data == "strip" else 4), int))
    mask = folder / "masks" / "a.png"
    if data == "unmasked":
        mask.unlink()
    elif data == "odd":
        Image.new("L", (3, 4)).save(mask)
    elif data == "color":
        Image.new("RGB", (4, 4)).save(mask)
    elif data == "undecodable":
        (folder / "images" / "a.jpg").write_bytes(b"nothing")
    elif data == "broken":
        mask.write_bytes(mask.read_bytes()[:30] + b"nothing")
    if weights == "fake":
        monkeypatch.setattr(segmentation, "load_segmenter", lambda _: colour_segmenter())
    elif weights.startswith("vgg16"):
        weights = str(ASSETS / weights)
    assert_refused(["--weights", weights, "--data", str(folder)], message, capsys)


def assert_refused(arguments: list[str], message: str, capsys: Capture, code: int = 2) -> None:
    assert segmentation.main(arguments) == code
    captured = capsys.readouterr()
    assert re.fullmatch(r"benchmarks\.quality\.segmentation: [^\n]*\n", captured.err)
    assert message in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "x", "--data", ".", "--limit", "0"], "argument --limit: '0' is not a positive integer"),
        (["--weights", "x", "--data", ".", "--limit", "-1"], "argument --limit: '-1' is not a positive integer"),
        (
            ["--weights", "x"],
            "the following arguments are required: --data; see python -m benchmarks.quality.segmentation",
        ),
    ],
)
def test_bad_arguments_exit_with_2_and_one_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert_refused(arguments, message, capsys)


def test_person_network_is_timed_from_photo_to_probabilities(monkeypatch) -> None:
    monkeypatch.setattr(segmentation_speed, "load_segmenter", lambda _: person_segmenter())
    for start in (segmentation_speed.start_embedded, segmentation_speed.start_smallest):
        result = start().advance()
        assert result.shape == (384, 512, 21)
        np.testing.assert_allclose(result.sum(-1), 1, atol=1e-5)


def test_ctrl_c_exits_with_130_and_one_line(tmp_path: Path, monkeypatch, capsys: Capture) -> None:
    save_pair(tmp_path, "a", np.zeros((6, 8), int))

    def interrupted(*_: object, refine: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segmentation, "class_probabilities", interrupted)
    monkeypatch.setattr(segmentation, "load_segmenter", lambda _: None)
    assert_refused(["--weights", "x", "--data", str(tmp_path)], "interrupted; run again", capsys, code=130)
