"""python -m benchmarks.quality: the set, the pictures that are made once, the figures, the sheets, and bad input."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import comparison, drawings, pictures, scores
from benchmarks.quality.__main__ import main
from benchmarks.quality.metrics import lpips
from benchmarks.quality.metrics.network import Statistics
from benchmarks.quality.pairs import Pair, read_pairs
from msst_jax.errors import UserError
from msst_jax.io.images import read_picture, to_array, to_picture
from msst_jax.transfer.build import build_options
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult, stylize
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe

HEIGHT, WIDTH = 48, 64
SIZE = str(WIDTH)

Capture = pytest.CaptureFixture[str]
Commands = list[list[str]]


@pytest.fixture(autouse=True)
def no_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of LPIPS are not to be had, as without a network."""

    def refuse() -> lpips.Weights:
        raise UserError("they cannot be fetched")

    monkeypatch.setattr(lpips, "load_weights", refuse)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A set of two photos with the regions person and background."""
    for seed, name in enumerate(("one.jpg", "two.jpg")):
        save(tmp_path / name, noise(HEIGHT, WIDTH, seed))
    save(tmp_path / "red.png", noise(HEIGHT, WIDTH, 2) // np.array([1, 4, 4], np.uint8))
    save(tmp_path / "blue.png", noise(HEIGHT, WIDTH, 3) // np.array([8, 2, 1], np.uint8))
    save(tmp_path / "left.png", stripe(HEIGHT, WIDTH, 0, 0.4))
    save(tmp_path / "middle.png", stripe(HEIGHT, WIDTH, 0.4, 0.8))
    return write_table(
        tmp_path / "set.csv",
        "one,one.jpg,person=left.png,person=red.png background=blue.png",
        "two,two.jpg,person=middle.png,person=blue.png background=red.png",
    )


def write_table(path: Path, *lines: str, head: str = "name,photo,masks,styles") -> Path:
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands that make one picture, run in this process, which takes the photo for the result."""
    recorded: Commands = []

    def run_child(command: Sequence[str], failure: str) -> str:
        recorded.append(list(command))
        if main(command[3:]):
            raise UserError(failure)
        return ""

    monkeypatch.setattr(comparison, "run_child", run_child)
    monkeypatch.setattr(pictures, "stylize", lambda _options, _vgg, inputs, _runs, seed: result(inputs.photo))
    return recorded


def result(image: np.ndarray, *, finite: bool = True, interrupted: bool = False) -> StylizationResult:
    """What a run returns."""
    flags = np.array([finite]), np.array([True])
    return StylizationResult(image[None], [{}], [1], *flags, interrupted, compile_seconds=1.0, optimize_seconds=2.0)


def run(table: Path, *arguments: str, size: str = "32") -> int:
    return main(["--set", str(table), "-o", str(table.parent / "out"), "--size", size, *arguments])


def results(table: Path) -> dict[str, Any]:
    return json.loads((table.parent / "out" / "quality.json").read_text())


def painted(pair: Pair, swapped: bool = False) -> np.ndarray:
    """A picture, uint8 (H, W, 3), that wears each painting in its region, or the other's."""
    labels = comparison.measured_inputs(pair, WIDTH).masks.argmax(-1)[..., None]
    return np.where(labels == int(swapped), *(np.asarray(read_picture(file)) for file in pair.styles.values()))


def save_painted(table: Path, name: str, swapped: bool = False) -> str:
    folder = table.parent / name
    folder.mkdir()
    for pair in read_pairs(table):
        save(folder / f"{pair.name}.png", painted(pair, swapped))
    return f"{name}={folder}"


def test_set_is_read_with_paths_relative_to_it_and_quoted_spaces(tmp_path: Path) -> None:
    make_scene(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "the a.png")
    lines = ["x1,photo.png,,'background=the a.png'", f"x2,{tmp_path}/photo.png,p=left.png,p=b.png background=c.png"]
    first, second = read_pairs(write_table(tmp_path / "set.csv", *lines))
    assert first == Pair("x1", tmp_path / "photo.png", {}, {"background": tmp_path / "the a.png"})
    assert second.photo == tmp_path / "photo.png"
    assert list(second.styles) == ["p", "background"]
    assert second.masks == {"p": tmp_path / "left.png"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../x,photo.png,,p=a.png", "line 2: the name '../x' is no file name"),
        (",photo.png,,p=a.png", "line 2: the name '' is no file name"),
        ("x,,,p=a.png", "line 2: there is no photo"),
        ("x", "line 2: there is no photo"),
        ("x,photo.png,,", "line 2: there are no styles"),
        ("x,gone.png,,p=a.png", "gone.png does not exist"),
        ("x,photo.png,p=gone.png,p=a.png", "mask p "),
        ("x,photo.png,,p=a.png p=b.png", "the region 'p' has two styles"),
        ("x,photo.png,,a.png", "style 'a.png' is not NAME=FILE"),
        ("x,photo.png,,'p=a.png", "No closing quotation; close the quotes"),
        ("x,http://host/photo.png,,p=a.png", "is a URL"),
        ("x,photo.png,,p=a.png\nx,photo.png,,p=a.png", "line 3: the name 'x' is taken"),
        ("", "is empty; add a line for each photo"),
    ],
)
def test_bad_line_of_a_set_is_named_in_one_line(line: str, message: str, tmp_path: Path, capsys: Capture) -> None:
    make_scene(tmp_path)
    assert run(write_table(tmp_path / "set.csv", line), "--preset", "photo") == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.quality: the set [^\n]*\n", error)
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to compare; give --preset NAME, --model NAME or --pictures NAME=FOLDER"),
        (["--preset", "nothing"], "--preset 'nothing' is none of "),
        (["--preset", "photo", "--layers", "relu9_1"], "vgg16 has no layer 'relu9_1'"),
        (["--preset", "photo", "--layers", "five"], "weights of vgg16 up to relu5_3 are not in "),
        (["--preset", "fast"], "--preset fast cannot stylize a photo: the config has no field "),
        (["--preset", "photo", "--preset", "photo"], "photo is given twice"),
        (["--pictures", "peer"], "--pictures 'peer' is not NAME=FOLDER"),
        (["--pictures", "peer=gone"], "--pictures peer: gone is no folder"),
        (["--pictures", "peer=."], "has no picture of the set; name them as one.png"),
        (["--preset", "photo", "--pairs", "0"], "argument --pairs: '0' is not a positive integer"),
        (["--preset", "photo", "--size", "-1"], "argument --size: '-1' is not an integer of at least 0"),
    ],
)
def test_bad_arguments_exit_with_2_and_one_line(
    arguments: list[str], message: str, table: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setenv("MSST_WEIGHTS", str(table.parent / "weights"))  # none have been converted
    assert run(table, *arguments) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.quality: [^\n]*\n", error)
    assert message in error
    assert not (table.parent / "out").exists()


def test_set_without_a_column_names_it(tmp_path: Path, capsys: Capture) -> None:
    path = write_table(tmp_path / "set.csv", "x,photo.png", head="name,photo")
    assert run(path, "--preset", "photo") == 2
    assert "has no column masks, styles" in capsys.readouterr().err


def test_regions_that_wear_their_paintings_are_diagonal_and_swapped_ones_are_not(table: Path, capsys: Capture) -> None:
    folders = save_painted(table, "right"), save_painted(table, "swapped", swapped=True)
    assert run(table, "--pictures", folders[0], "--pictures", folders[1], size=SIZE) == 0
    entrants = results(table)["entrants"]
    right, swapped = (entrants[name]["mean"] for name in ("right", "swapped"))
    assert (right["gram_diagonal"], right["palette_diagonal"], right["pairs"]) == (2, 2, 2)
    assert (swapped["gram_diagonal"], swapped["palette_diagonal"]) == (0, 0)
    assert right["palette_own"] < swapped["palette_own"] / 3
    assert right["palette_own"] == pytest.approx(swapped["palette_other"], rel=0.2)
    first = entrants["right"]["pictures"]["one"]
    assert np.array(first["gram"]).shape == np.array(first["palette"]).shape == (2, 2)
    assert first["lpips"] is None
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if line.startswith(("| right", "| swapped"))]
    assert [row.split(" | ")[3] for row in rows[:2]] == ["2 of 2", "0 of 2"]
    assert "averages over 2 of 2 photos, 64 pixels long" in printed.out
    assert printed.err == "benchmarks.quality: LPIPS is left out: they cannot be fetched\n"


@pytest.mark.slow
def test_style_and_content_are_measured_at_the_layers_that_are_asked_for(table: Path) -> None:
    pictures = save_painted(table, "right")

    def measured(*arguments: str) -> tuple[list[str], float, float]:
        assert run(table, "--pictures", pictures, *arguments) == 0
        mean = results(table)["entrants"]["right"]["mean"]
        return results(table)["layers"], mean["gram_own"], mean["content"]

    layers, style, content = measured("--layers", "relu1_2,relu3_2")
    assert layers == ["relu1_2", "relu3_2"]
    assert (style, content) == pytest.approx(measured("--layers", "relu3_2,relu1_2")[1:], rel=1e-5)
    assert style != pytest.approx(measured()[1], rel=1e-3)
    assert content != pytest.approx(measured()[2], rel=1e-3)


def test_photo_itself_keeps_content_and_edges(table: Path) -> None:
    folder = table.parent / "same"
    folder.mkdir()
    for pair in read_pairs(table):
        read_picture(pair.photo).save(folder / f"{pair.name}.png")
    assert run(table, "--pictures", f"same={folder}", size=SIZE) == 0
    mean = results(table)["entrants"]["same"]["mean"]
    assert mean["content"] == pytest.approx(0, abs=1e-6)
    assert mean["edges"] == pytest.approx(1, abs=1e-6)


def test_averages_are_over_the_photos_of_which_all_have_a_picture(table: Path, capsys: Capture) -> None:
    folders = save_painted(table, "right"), save_painted(table, "partial")
    (table.parent / "partial" / "two.png").unlink()
    assert run(table, "--pictures", folders[0], "--pictures", folders[1], size=SIZE) == 0
    found = results(table)
    assert found["averaged_over"] == ["one"]
    assert found["entrants"]["right"]["mean"] == found["entrants"]["partial"]["mean"]
    assert list(found["entrants"]["right"]["pictures"]) == ["one", "two"]
    assert "partial has no picture of two; averages leave them out for all" in capsys.readouterr().err


def test_seconds_memory_and_jpeg_of_other_programs_are_taken(table: Path) -> None:
    folder = table.parent / "peer"
    folder.mkdir()
    for name, seconds in (("one", 3.0), ("two", {"total": 5.0})):
        save(folder / f"{name}.jpg", noise(HEIGHT, WIDTH))
        (folder / f"{name}.json").write_text(json.dumps({"seconds": seconds, "memory_gb": 0.5}))
    assert run(table, "--pictures", f"peer={folder}", size=SIZE) == 0
    mean = results(table)["entrants"]["peer"]["mean"]
    assert (mean["seconds"], mean["memory_gb"]) == (4.0, 0.5)


def test_picture_of_another_size_is_resized_and_said_and_of_another_shape_refused(table: Path, capsys: Capture) -> None:
    text = save_painted(table, "peer")
    save(table.parent / "peer" / "two.png", noise(2 * HEIGHT, 2 * WIDTH))
    assert run(table, "--pictures", text, size=SIZE) == 0
    assert "peer of two is resized to 64 pixels, which changes its figures" in capsys.readouterr().err
    save(table.parent / "peer" / "two.png", noise(WIDTH, WIDTH))
    assert run(table, "--pictures", text, size=SIZE) == 2
    assert "two.png is 64x64, the photo 64x48; give one that is not cropped" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_of_presets_are_made_once_and_again_when_something_changes(table: Path, commands: Commands) -> None:
    out = table.parent / "out"
    presets = ["--preset", "photo", "--preset", "seed"]
    assert run(table, *presets) == 0
    assert [command[-3:] for command in commands] == [
        [preset, name, str(out / preset / f"{name}.png")] for preset in ("photo", "seed") for name in ("one", "two")
    ]
    entrants = results(table)["entrants"]
    assert list(entrants) == ["photo", "seed"]
    assert all(entry["mean"]["seconds"] > 0 for entry in entrants.values())
    commands.clear()
    assert run(table, *presets) == 0
    assert commands == []
    (out / "photo" / "one.json").write_text("{")
    (out / "seed" / "two.png").unlink()
    assert run(table, *presets) == 0
    assert [command[-3:-1] for command in commands] == [["photo", "one"], ["seed", "two"]]
    commands.clear()
    save(table.parent / "two.jpg", noise(HEIGHT, WIDTH, 9))
    assert run(table, *presets) == 0
    assert [command[-3:-1] for command in commands] == [["photo", "two"], ["seed", "two"]]
    commands.clear()
    assert run(table, "--preset", "photo", "--pairs", "1", size="40") == 0
    assert [command[-3:-1] for command in commands] == [["photo", "one"]]
    assert read_picture(out / "photo" / "one.png").size == (40, 30)


def test_record_of_an_earlier_picture_does_not_vouch_for_one_that_was_cut_off(
    table: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run(table, "--preset", "photo") == 0

    def killed(command: Sequence[str], failure: str) -> str:
        raise UserError(f"{failure}: killed")

    monkeypatch.setattr(comparison, "run_child", killed)
    assert run(table, "--preset", "photo", size="40") == 2
    assert "photo of one failed: killed" in capsys.readouterr().err
    assert not (table.parent / "out" / "photo" / "one.json").exists()
    assert (table.parent / "out" / "photo" / "two.json").exists()


def test_flaws_of_a_run_are_recorded_and_said(
    table: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(pictures, "stylize", lambda *inputs, seed: result(inputs[2].photo, finite=False))
    assert run(table, "--preset", "photo") == 0
    assert "photo of one: the loss was not finite" in capsys.readouterr().err


def test_picture_of_an_interrupted_run_is_not_kept(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "stylize", lambda *inputs, seed: result(inputs[2].photo, interrupted=True))
    out = table.parent / "out"
    assert run(table, "--alone", "photo", "one", str(out / "one.png")) == 130
    assert not out.exists()


def test_picture_of_a_preset_is_what_stylize_makes_of_its_config(table: Path) -> None:
    config, pair, path = quick_config(steps=2), read_pairs(table)[0], table.parent / "made.png"
    pictures.make_picture(config, pair, path)
    assert pictures.is_made(config, pair, path)
    assert not pictures.is_made(quick_config(steps=3), pair, path)
    options = build_options(config)
    expected = stylize(
        options, load_loss_network(options.network)[0], pictures.read_inputs(config, pair), [options.weights()]
    )
    np.testing.assert_array_equal(np.asarray(read_picture(path)), np.asarray(to_picture(expected.images[0])))
    made = pictures.finished(path)
    assert made.seconds
    assert made.memory_gb
    assert not made.flaws


def test_interrupted_run_exits_with_130_and_says_how_to_go_on(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "run_child", interrupt)
    assert run(table, "--preset", "photo") == 130
    assert capsys.readouterr().err == (
        "benchmarks.quality: interrupted; the finished pictures are kept: run again to go on\n"
    )


def test_every_preset_of_photos_has_a_config_in_the_photo_s_proportions() -> None:
    for preset in ("photo", "seed", "seed_fast", "quickstart"):
        config = pictures.preset_config(preset, 96)
        assert (config.size, config.square) == (96, False)


def test_sheets_have_a_row_for_each_photo_and_stale_pages_are_removed(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "ROWS_A_PAGE", 1)
    text, out = save_painted(table, "right"), table.parent / "out"
    assert run(table, "--pictures", text, size=SIZE) == 0
    assert sorted(path.name for path in out.glob("*.png")) == ["matrices.png", "sheet_1.png", "sheet_2.png"]
    pages = [read_picture(out / f"sheet_{number}.png") for number in (1, 2)]
    assert all(page.width > 4 * drawings.BOX[0] and page.height > drawings.BOX[1] for page in pages)
    assert run(table, "--pictures", text, "--pairs", "1", size=SIZE) == 0
    assert sorted(path.name for path in out.glob("*.png")) == ["matrices.png", "sheet_1.png"]


def test_photo_of_a_sheet_is_outlined_at_its_regions_only(table: Path) -> None:
    inputs = comparison.measured_inputs(read_pairs(table)[0], WIDTH)
    gray = inputs._replace(photo=np.full_like(inputs.photo, 0.5))
    picture = np.asarray(drawings.outlined(gray)).astype(int)
    colored = (np.ptp(picture, -1) > 20).all(0).nonzero()[0]
    assert colored.size
    assert np.abs(colored / picture.shape[1] - 0.4).max() < 0.02


def test_measures_of_one_picture_stand_for_the_picture_and_not_for_the_photo(table: Path) -> None:
    pair = read_pairs(table)[0]
    networks = scores.load_networks(None)
    target = scores.build_target(networks, comparison.measured_inputs(pair, WIDTH))
    measured = scores.score(networks, target, to_array(Image.fromarray(painted(pair))))
    of_photo = scores.score(networks, target, target.photo)
    assert of_photo.content < measured.content
    assert of_photo.edges > measured.edges
    assert scores.own_distance(measured.gram) < scores.own_distance(of_photo.gram)


def test_painting_of_several_lines_is_measured_once_at_each_size(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[bytes] = []

    def record(_vgg: object, image: np.ndarray, masks: object = None, layers: object = ()) -> Statistics:
        measured.append(image.tobytes())
        return Statistics({}, {})

    monkeypatch.setattr(scores, "image_statistics", record)
    networks, known = scores.Networks(cast(Any, None), None), scores.Paintings()
    for size in (32, 40):
        for pair in read_pairs(table):
            scores.build_target(networks, comparison.measured_inputs(pair, size), known)
    assert len(measured) == len(set(measured)) == 2 * (2 + 2)  # photos and paintings


def test_masks_that_measure_are_hard_and_cover_the_stripe(table: Path) -> None:
    masks = comparison.measured_inputs(read_pairs(table)[0], WIDTH).masks
    assert np.isin(masks, (0, 1)).all()
    np.testing.assert_array_equal(masks[..., 0], stripe(HEIGHT, WIDTH, 0, 0.4) / 255)
