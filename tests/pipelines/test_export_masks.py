"""--regions-only: an overlay, masks that can be used as input, and area fractions."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.cli.stylize_job import default_output
from msst_jax.errors import UserError
from msst_jax.models import voc
from msst_jax.pipelines.export_masks import export_masks
from msst_jax.pipelines.job import MasksJob
from msst_jax.pipelines.run import run_job
from msst_jax.regions.points import Point
from msst_jax.report.sheets import classes_overlay
from msst_jax.transfer.build import build_input_options, build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from tests.helpers.commands import run_command
from tests.helpers.pictures import make_scene, noise, quick_config, save
from tests.helpers.segmenters import (
    CAT,
    DOG,
    PERSON,
    WEIGHTS,
    animals,
    colour_segmenter,
    converted,
    painted,
    people,
    refinements,
)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_scene(tmp_path, 60, 80)
    save(tmp_path / "photo.png", painted(animals()))
    return tmp_path


def export(
    scene: Path, name: str = "masks.png", regions: Sequence[str] = (), points: Sequence[Point] = (), **changes: Any
) -> Path:
    output = scene / "out" / name
    config = quick_config(**{"size": 0, "feather": 0.0, **changes})
    photo = str(scene / "photo.png")
    options, asked = build_input_options(config), {"regions": regions, "points": points}
    export_masks(options, photo, output, config=config.to_dict(), segmenter=colour_segmenter(), **asked)
    return output


def written(output: Path) -> list[str]:
    """The regions of the mask files beside an overlay."""
    return sorted(file.stem.removeprefix("masks_") for file in output.parent.glob("masks_*.png"))


def white(output: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(output.with_name(f"masks_{name}.png"))) > 127


@pytest.mark.parametrize("hard", [True, False])
def test_overlay_masks_and_area_fractions_of_every_class_are_written(scene: Path, hard: bool):
    output = export(scene, "masks.jpg", hard_masks=hard, min_speck=0.0)
    files = ["masks.jpg", "masks.json", "masks_cat.png", "masks_dog.png", "masks_person.png"]
    assert sorted(file.name for file in output.parent.iterdir()) == files
    for name, index in (("cat", CAT), ("dog", DOG), ("person", PERSON)):
        mask = Image.open(output.with_name(f"masks_{name}.png"))
        assert (mask.mode, mask.size) == ("L", (80, 60))
        values = np.asarray(mask)
        assert ((values > 127) == (animals() == index)).mean() > 0.99
        assert (np.unique(values).tolist() == [0, 255]) == hard
    content = json.loads(output.with_suffix(".json").read_text())
    assert list(content["shares"]) == ["background", "cat", "person", "dog"]
    assert sum(content["shares"].values()) == pytest.approx(1)
    assert content["masks"] == {name: f"masks_{name}.png" for name in ("cat", "person", "dog")}
    assert content["segmenter"] == {"name": "deeplabv3_resnet101", "weights": WEIGHTS}
    assert content["size"] == [80, 60]
    assert content.keys() >= {"photo", "device", "versions", "seconds", "config"}


@pytest.mark.parametrize("taken", ["masks_sofa.png", "masks.json"])
def test_an_unwritable_file_is_reported_before_any_other_is_written(scene: Path, taken: str):
    (scene / "out" / taken).mkdir(parents=True)
    with pytest.raises(
        UserError, match=rf"cannot write \S*{taken} beside \S*masks.png: it is a folder; choose another"
    ):
        export(scene)
    assert [file.name for file in (scene / "out").iterdir()] == [taken]


def test_only_masks_of_the_previous_run_are_removed(scene: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    output = export(scene, min_speck=0.0)
    assert "removed" not in caplog.text
    save(scene / "out" / "masks_sofa.png", np.zeros((4, 4), np.uint8))  # the user's own: no JSON lists it
    save(scene / "photo.png", painted(np.where(animals() == CAT, CAT, 0)))
    export(scene, min_speck=0.0)
    remaining = ["masks.json", "masks.png", "masks_cat.png", "masks_sofa.png"]
    assert sorted(file.name for file in output.parent.iterdir()) == remaining
    assert "removed masks_dog.png, masks_person.png: of an earlier run, not found now" in caplog.text


@pytest.mark.parametrize(
    "record",
    [
        '{"masks": {"dog": "masks_dog.png"}}',  # the sidecar of a stylized photo: its masks were inputs
        '{"shares": {}, "masks": {"dog": "../photo.png", "x": "masks_dog.txt"}}',
        '{"shares": {}, "masks": ["masks_dog.png"]}',
        '{"shares": {}, "masks": {"dog": ["masks_dog.png"]}}',
        '["shares"]',
        "{",
        "3",
    ],
)
def test_a_foreign_json_file_does_not_cause_files_to_be_removed(scene: Path, record: str):
    save(scene / "photo.png", np.zeros((60, 80, 3), np.uint8))
    (scene / "out").mkdir()
    (scene / "out" / "masks.json").write_text(record)
    for name in ("masks_dog.png", "masks_dog.txt"):
        (scene / "out" / name).touch()
    output = export(scene)
    assert sorted(file.name for file in output.parent.iterdir()) == [
        "masks.json",
        "masks.png",
        "masks_dog.png",
        "masks_dog.txt",
    ]
    assert (scene / "photo.png").exists()


def test_specks_are_left_out(scene: Path):
    output = export(scene, min_speck=2.0)
    assert not output.with_name("masks_dog.png").exists()
    assert list(json.loads(output.with_suffix(".json").read_text())["shares"]) == ["background", "cat", "person"]


def test_the_overlay_shows_every_class_in_its_color_above_a_legend():
    photo = noise(90, 120).astype(np.float32) / 255
    left = np.zeros((90, 120), np.float32)
    left[:, :40] = 1
    shares = {"background": 0.5, "cat": 1 / 3, "dog": 1 / 6}
    page = np.asarray(classes_overlay(photo, {"cat": left, "dog": np.roll(left, 60, 1) / 2}, shares))
    np.testing.assert_allclose(page[:90, 45:55], photo[:, 45:55] * 255, atol=0.51)
    cat = voc.COLORS[CAT]
    np.testing.assert_allclose(page[:90, :40], photo[:, :40] * 255 * 0.4 + 0.6 * np.array(cat), atol=0.51)
    for index in (CAT, DOG):
        assert (page[90:] == voc.COLORS[index]).all(-1).sum() > 50
    small = classes_overlay(photo[:16, :16], {"cat": left[:16, :16]}, shares)
    assert small.width > 60  # wide enough for the legend


def test_an_empty_photo_is_all_background(scene: Path):
    save(scene / "photo.png", np.zeros((60, 80, 3), np.uint8))
    output = export(scene)
    assert sorted(file.name for file in output.parent.iterdir()) == ["masks.json", "masks.png"]
    assert json.loads(output.with_suffix(".json").read_text())["shares"] == {"background": 1.0}


def load_inputs(scene: Path, masks: dict[str, str], **changes: Any) -> PhotoInputs:
    styles = {name: str(scene / "a.png") for name in ("person", "cat", "background", "dog")}
    config = quick_config(**{"feather": 0.0, **changes})
    return load_photo_inputs(
        build_options(config), str(scene / "photo.png"), styles, masks, segmenter=colour_segmenter()
    )


@pytest.mark.parametrize("changes", [{"size": 0}, {"size": 64}, {"size": 48, "square": True}])
@pytest.mark.parametrize("hard", [True, False])
def test_exported_masks_give_the_same_regions_as_the_segmenter(scene, changes, hard, caplog):
    labels = animals()
    labels[5, 40] = DOG  # a speck
    save(scene / "photo.png", painted(labels))
    changes = {**changes, "hard_masks": hard, "min_speck": 0.3}
    output = export(scene, **changes)
    masks = {name: str(output.with_name(f"masks_{name}.png")) for name in ("person", "cat", "dog")}
    found, given = load_inputs(scene, {}, **changes), load_inputs(scene, masks, **changes)
    assert given.segmenter is None
    np.testing.assert_array_equal(found.masks.argmax(-1), given.masks.argmax(-1))
    np.testing.assert_allclose(found.masks, given.masks, atol=0 if hard else 0.01)
    assert not caplog.text  # the masks have the working size or the photo's aspect ratio: nothing is stretched


def test_a_masks_job_needs_no_style_and_uses_the_segmenter_of_the_config(scene: Path, monkeypatch):
    loaded = converted(monkeypatch)
    job = MasksJob(str(scene / "photo.png"), scene / "out" / "masks.png")
    assert run_job(quick_config(segmenter="deeplabv3_resnet50"), job) == 0
    assert loaded == ["deeplabv3_resnet50"]
    assert (scene / "out" / "masks_person.png").exists()
    assert json.loads((scene / "out" / "masks.json").read_text())["segmenter"]["name"] == "deeplabv3_resnet50"


def test_an_edited_mask_used_as_input_is_not_overwritten(scene: Path, monkeypatch: pytest.MonkeyPatch):
    converted(monkeypatch)
    edited = save(scene / "masks_dog.png", np.zeros((60, 80), np.uint8))
    job = MasksJob(str(scene / "photo.png"), scene / "masks.png", [edited])
    with pytest.raises(UserError, match=r"would overwrite the input .*masks_dog.png; choose another name with -o"):
        run_job(quick_config(), job)
    assert not (scene / "masks.png").exists()


@pytest.mark.parametrize("refine", [True, False])
def test_edges_are_refined_if_the_config_enables_it(scene: Path, monkeypatch: pytest.MonkeyPatch, refine: bool):
    refined = refinements(monkeypatch)
    export(scene, refine_edges=refine, size=40)
    assert refined == ([(30, 40)] if refine else [])


def test_nothing_is_written_if_weights_are_missing(scene: Path):
    config = quick_config(segmenter="deeplabv3_resnet101")
    with pytest.raises(UserError, match=r"run `python -m msst_jax.convert_weights deeplabv3_resnet101`$"):
        run_job(config, MasksJob(str(scene / "photo.png"), scene / "out" / "masks.png"))
    assert not (scene / "out").exists()


def test_the_default_output_of_regions_only_has_its_own_name():
    assert default_output("in/photo.jpg", True) == Path("outputs/photo_regions.png")
    assert default_output("in/photo.jpg", False) == Path("outputs/photo.png")


def test_every_region_that_is_asked_for_gets_a_mask_and_what_is_not_found_an_empty_one(scene: Path, caplog):
    output = export(scene, regions=["person+cat", "sofa", "tree", "person#2", "background"], size=40, min_speck=0.0)
    empty = ["person-2", "sofa", "tree"]
    assert written(output) == sorted([*empty, "cat", "dog", "person", "person+cat"])
    for name in empty:  # as large as the photo, to be painted over it
        mask = Image.open(output.with_name(f"masks_{name}.png"))
        assert (mask.mode, mask.size, mask.getextrema()) == ("L", (80, 60), (0, 0))
    content = json.loads(output.with_suffix(".json").read_text())
    assert content["not_found"] == ["sofa", "tree", "person#2"]
    assert content["masks"]["person#2"] == "masks_person-2.png"
    path = output.with_name("masks_tree.png")
    said = f"not found: tree; wrote an empty mask: paint the region white in {path}, and give --mask tree={path}"
    assert said in caplog.messages


def test_an_empty_mask_that_was_painted_on_is_neither_overwritten_nor_removed(scene: Path, caplog):
    caplog.set_level("INFO")
    output = export(scene, regions=["tree", "sofa"])
    save(output.with_name("masks_tree.png"), np.full((60, 80), 255, np.uint8))
    for regions in (["tree"], [], ["tree"]):
        export(scene, regions=regions)
        assert white(output, "tree").all()
    assert "not found: tree; left" in caplog.text
    assert "sofa" not in written(output)


def test_a_painted_mask_of_the_rest_of_a_class_is_not_overwritten(scene: Path):
    output = export(scene, regions=["person#1", "person"])  # one person: nothing is left for the second
    assert not white(output, "person").any()
    save(output.with_name("masks_person.png"), np.full((60, 80), 255, np.uint8))
    for _ in range(2):
        export(scene, regions=["person#1", "person"])
        assert white(output, "person").all()


@pytest.mark.parametrize("record", [None, '{"masks": {"tree": "tree.png"}, "not_found": ["tree"]}', "{"])
def test_a_painted_mask_is_kept_where_the_sidecar_is_gone_or_of_another_command(scene: Path, record: str | None):
    output = export(scene, regions=["tree"])
    save(output.with_name("masks_tree.png"), np.full((60, 80), 255, np.uint8))
    output.with_suffix(".json").unlink()
    if record:
        output.with_suffix(".json").write_text(record)
    for _ in range(2):
        export(scene, regions=["tree"])
        assert white(output, "tree").all()


def test_a_mask_that_was_found_becomes_empty_where_the_region_is_gone(scene: Path):
    output = export(scene)
    assert white(output, "person").any()
    save(scene / "photo.png", np.zeros((60, 80, 3), np.uint8))
    export(scene, regions=["person"])
    assert not white(output, "person").any()


def _cut_out(path: Path) -> None:
    Image.new("RGBA", (80, 60)).save(path)


def _palette_cut_out(path: Path) -> None:
    Image.new("P", (80, 60)).save(path, transparency=0)


def _unreadable(path: Path) -> None:
    path.write_bytes(b"a file of a paint program")


def _truncated(path: Path) -> None:
    Image.fromarray(noise(60, 80)).save(path)
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize("paint", [_cut_out, _palette_cut_out, _unreadable, _truncated])
def test_whatever_is_not_an_opaque_black_picture_counts_as_painted(scene: Path, paint: Callable[[Path], None]):
    output = export(scene, regions=["tree"])
    mask = output.with_name("masks_tree.png")
    paint(mask)
    painted_on = mask.read_bytes()
    export(scene, regions=["tree"])
    assert mask.read_bytes() == painted_on


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_a_black_mask_counts_as_empty_however_it_was_saved(scene: Path, mode: str):
    output = export(scene, regions=["tree"])
    Image.new(mode, (8, 6), (0, 0, 0, 255) if mode == "RGBA" else 0).save(output.with_name("masks_tree.png"))
    export(scene, regions=["tree"])
    assert white(output, "tree").shape == (60, 80)


@pytest.mark.parametrize("regions", [["person#2", "person-2"], ["person-2"]])
def test_two_regions_with_the_same_mask_file_are_refused_before_anything_is_written(scene: Path, regions: list[str]):
    save(scene / "photo.png", painted(people()))
    said = r"the masks of the regions 'person#2' and 'person-2' would both be masks_person-2\.png; rename one of them"
    with pytest.raises(UserError, match=said):
        export(scene, regions=regions)
    assert not (scene / "out").exists()


def test_a_region_with_slashes_in_its_name_gets_a_mask(scene: Path):
    output = export(scene, regions=["a/b", "c\\d"])
    assert {"a-b", "c-d"} <= {*written(output)}
    with pytest.raises(UserError, match="the regions 'a/b' and 'a-b' would both be"):
        export(scene, regions=["a/b", "a-b"])


def test_instances_get_masks_of_their_own_and_numbers_on_the_overlay(scene: Path):
    save(scene / "photo.png", painted(people()))
    output = export(scene, regions=["person#2", "person"])
    assert written(output) == ["dog", "person", "person-1", "person-2", "person-3"]
    parts = np.stack([white(output, f"person-{number}") for number in (1, 2, 3)])
    np.testing.assert_array_equal(parts.any(0), people() == PERSON)
    np.testing.assert_array_equal(white(output, "person"), parts[[0, 2]].any(0))  # as asked: the rest of them
    content = json.loads(output.with_suffix(".json").read_text())
    assert list(content["instances"]) == ["person#1", "person#2", "person#3"]
    plain = classes_overlay(np.zeros((60, 80, 3), np.float32), {}, {"background": 1.0})
    labelled = classes_overlay(
        np.zeros((60, 80, 3), np.float32), {}, {"background": 1.0}, labels=[("#1", (40.0, 30.0))]
    )
    assert (np.asarray(plain) != np.asarray(labelled))[20:40, 20:60].any()
    save(scene / "photo.png", painted(np.where(people() == DOG, DOG, 0)))
    export(scene)
    assert written(output) == ["dog"]


def test_the_mask_at_a_point_is_that_of_the_stylization(scene: Path):
    save(scene / "photo.png", painted(people()))
    output = export(scene, regions=["person"], points=[Point("person", 40, 50)])
    np.testing.assert_array_equal(white(output, "person"), white(output, "person-2"))
    assert json.loads(output.with_suffix(".json").read_text())["points"] == {"person": [40, 50]}


def test_exported_instances_give_the_same_regions_as_their_numbers(scene: Path):
    save(scene / "photo.png", painted(people()))
    output = export(scene)
    styles = {name: str(scene / "a.png") for name in ("person#1", "person#3", "background")}
    masks = {name: str(output.with_name(f"masks_{name.replace('#', '-')}.png")) for name in ("person#1", "person#3")}
    options = build_options(quick_config(size=0, feather=0.0))
    photo, segmenter = str(scene / "photo.png"), colour_segmenter()
    counted, given = (load_photo_inputs(options, photo, styles, each, segmenter=segmenter) for each in ({}, masks))
    np.testing.assert_allclose(counted.masks, given.masks, atol=0.01)


def test_the_way_out_of_the_error_of_a_region_that_is_not_found_works(scene: Path, monkeypatch: pytest.MonkeyPatch):
    converted(monkeypatch)
    styles = {"bird": str(scene / "a.png"), "background": str(scene / "b.png")}
    with pytest.raises(UserError, match="region 'bird' was not found") as raised:
        load_photo_inputs(build_options(quick_config()), str(scene / "photo.png"), styles, {})
    (command,) = re.findall(r"`stylize\.py PHOTO ([^`]*)`", str(raised.value))
    assert run_command(["photo.png", *command.split()], scene)[0] == 0
    (file,) = re.findall(r"an empty (\S+);", str(raised.value))
    mask = Image.open(scene / file)
    assert mask.getextrema() == (0, 0)
    mask.paste(255, (0, 0, 40, 60))
    mask.save(scene / file)
    inputs = load_photo_inputs(
        build_options(quick_config()), str(scene / "photo.png"), styles, {"bird": str(scene / file)}
    )
    assert inputs.masks[..., 0].mean() == pytest.approx(0.5, abs=0.05)
