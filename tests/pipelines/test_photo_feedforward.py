"""stylize.py --model: photos stylized by a feed-forward model, files to files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from msst_jax.cli.stylize_job import default_output
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.pipelines.job import PhotoJob
from msst_jax.pipelines.run import run_job
from msst_jax.regions.points import Point
from msst_jax.transfer.feedforward import batch_by_size, stylize_batch
from tests.helpers.commands import run_command
from tests.helpers.feedforward import earlier_model, pictures_of_model
from tests.helpers.pictures import make_scene, noise, quick_config, save
from tests.helpers.segmenters import PERSON, animals, converted, fake_networks, painted, people, refinements


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return make_scene(tmp_path / "in")


def job(model: Path, photo: Path, output: Path, **more: Any) -> PhotoJob:
    settings = {"styles": {}, "masks": {}, "blend_ratios": [0.0], "quiet": True, **more}
    return PhotoJob(photo=str(photo), output=output, model=str(model), **settings)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_region_is_painted_in_its_own_style(model: Path, scene: Path, tmp_path: Path):
    config = quick_config(feather=0.0)
    masks = {"person": str(scene / "left.png")}
    assert run_job(config, job(model, scene / "photo.png", tmp_path / "out.png", masks=masks)) == 0
    photo, inside = pixels(scene / "photo.png")[None], pixels(scene / "left.png")[None] / np.float32(255)
    (wanted,) = pictures_of_model(model, photo, inside)
    np.testing.assert_allclose(pixels(tmp_path / "out.png") / 255, wanted, rtol=0, atol=1 / 255)
    (swapped,), (background,) = pictures_of_model(model, photo, 1 - inside), pictures_of_model(model, photo, 0 * inside)
    for other in (swapped, background):
        assert np.abs(wanted - other)[inside[0] > 0].max() > 0.05


def test_sidecar_records_model_regions_and_area_fractions(model: Path, scene: Path, tmp_path: Path):
    masks = {"person": str(scene / "left.png")}
    run_job(quick_config(), job(model, scene / "photo.png", tmp_path / "out.png", masks=masks))
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert [region["name"] for region in sidecar["regions"]] == ["person", "background"]
    assert sum(region["share"] for region in sidecar["regions"]) == pytest.approx(1)
    assert [region["style"] for region in sidecar["regions"]] == ["a.png", "b.png"]
    assert sidecar["model"]["training"]["width"] == 4
    assert sidecar["weights"] == MODEL_FILE
    assert set(sidecar["loss"]) == {"total", "style", "blend", "content", "smooth"}
    assert set(sidecar["seconds"]) == {"compile", "optimize", "total"}


def test_photos_of_a_folder_are_stylized_as_if_alone(model: Path, tmp_path: Path, monkeypatch):
    fake_networks(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    for index, size in enumerate(((24, 32), (32, 24), (24, 32), (24, 32))):
        save(folder / f"{index}.png", noise(*size, seed=index))
    (folder / "notes.txt").write_text("no picture")
    config = quick_config(size=0)
    assert run_job(config, job(model, folder, tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{index}.{ending}" for index in range(4) for ending in ("json", "png")
    ]
    for index in range(4):
        run_job(config, job(model, folder / f"{index}.png", tmp_path / f"{index}.png"))
        batched = pixels(tmp_path / "out" / f"{index}.png").astype(int)
        np.testing.assert_allclose(batched, pixels(tmp_path / f"{index}.png").astype(int), atol=1)


def test_damaged_photo_of_a_folder_is_skipped_and_reported(model: Path, tmp_path: Path, monkeypatch, caplog):
    fake_networks(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "good.png", noise(24, 32))
    (folder / "bad.png").write_bytes(b"no picture")
    assert run_job(quick_config(), job(model, folder, tmp_path / "out")) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.png", "good.json"}
    assert "bad.png" in caplog.text
    assert "1 of 2 photos were left out" in caplog.text
    (folder / "good.png").unlink()
    with pytest.raises(UserError, match="not a picture"):
        run_job(quick_config(), job(model, folder, tmp_path / "none"))


def test_masks_of_a_folder_are_matched_to_photos_by_name(model: Path, scene: Path, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("x", "y"):
        save(tmp_path / "photos" / f"{name}.png", pixels(scene / "photo.png"))
    save(tmp_path / "masks" / "x.png", pixels(scene / "left.png"))
    masks = {"person": str(tmp_path / "masks")}
    with pytest.raises(UserError, match=r"there is no y\.png for y\.png"):
        run_job(quick_config(), job(model, tmp_path / "photos", tmp_path / "out", masks=masks))
    save(tmp_path / "masks" / "y.png", 255 - pixels(scene / "left.png"))
    run_job(quick_config(), job(model, tmp_path / "photos", tmp_path / "out", masks=masks))
    x, y = (json.loads((tmp_path / "out" / f"{name}.json").read_text())["regions"][0]["share"] for name in "xy")
    assert x + y == pytest.approx(1, abs=0.01)
    assert abs(x - y) > 0.1


def test_photos_of_one_size_share_a_batch_unless_they_are_large():
    class Sized:
        def __init__(self, *shape: int):
            self.inputs = self
            self.photo = np.empty((*shape, 3), np.uint8)

    items = [Sized(24, 32), Sized(32, 24), Sized(24, 32), Sized(2048, 2048), Sized(2048, 2048)]
    batches = [[items.index(item) for item in batch] for batch in batch_by_size(items)]  # type: ignore[arg-type]
    assert sorted(batches) == [[0, 2], [1], [3], [4]]


def test_blend_list_gives_a_strip_and_full_blend_equal_regions(model: Path, scene: Path, tmp_path: Path):
    masks = {"person": str(scene / "left.png")}
    run_job(quick_config(), job(model, scene / "photo.png", tmp_path / "out.png", masks=masks, blend_ratios=[0.0, 1.0]))
    assert pixels(tmp_path / "out.png").shape[1] > 2 * 32
    photo, inside = pixels(scene / "photo.png")[None], pixels(scene / "left.png")[None] / np.float32(255)
    (blended,), (swapped,) = (pictures_of_model(model, photo, mask, 1.0) for mask in (inside, 1 - inside))
    np.testing.assert_allclose(blended, swapped, atol=1e-5)
    np.testing.assert_allclose(pixels(tmp_path / "out_blend1.png") / 255, blended, rtol=0, atol=1 / 255)


def test_regions_are_segmented_and_an_absent_one_is_empty(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = converted(monkeypatch)
    save(tmp_path / "photo.png", painted(animals()))
    save(tmp_path / "empty.png", np.zeros((60, 80, 3), np.uint8))
    for name, person in (("photo", True), ("empty", False)):
        run_job(quick_config(size=0), job(model, tmp_path / f"{name}.png", tmp_path / "out.png"))
        sidecar = json.loads((tmp_path / "out.json").read_text())
        assert sidecar["regions"][0]["origin"] == "segmenter"
        assert (sidecar["regions"][0]["share"] > 0.1) == person
    assert len(loaded) == 2


@pytest.mark.parametrize("refine", [True, False])
def test_region_edges_are_refined_if_the_config_enables_it(model: Path, tmp_path: Path, monkeypatch, refine: bool):
    converted(monkeypatch)
    refined = refinements(monkeypatch)
    save(tmp_path / "photo.png", painted(animals()))
    run_job(quick_config(size=0, refine_edges=refine), job(model, tmp_path / "photo.png", tmp_path / "out.png"))
    assert refined == ([(60, 80)] if refine else [])


def test_a_region_unknown_to_the_segmenter_is_rejected_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(
        "msst_jax.pipelines.photo_feedforward.open_model",
        lambda *_, **__: load_feedforward(str(model))._replace(regions=("dog", "background")),
    )
    fake_networks(monkeypatch)
    save(tmp_path / "photo.png", painted(animals()))
    wanted = job(model, tmp_path / "photo.png", tmp_path / "out.png")
    with pytest.raises(UserError, match=r"^person_vgg16 segments only person, not dog; .* or give --mask dog=FILE$"):
        run_job(quick_config(segmenter="person_vgg16"), wanted)
    monkeypatch.undo()
    with pytest.raises(
        UserError, match=r"run `python -m msst_jax.convert_weights deeplabv3_resnet50`; or do without it: give"
    ):
        run_job(quick_config(segmenter="deeplabv3_resnet50"), wanted)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"styles": {"person": "a.png"}}, "has its own styles"),
        ({"compare": True}, "losses of the optimization"),
        ({"masks": {"dog": "left.png"}}, "has styles for person and the rest; "),
        ({"masks": {"background": "left.png"}}, "has styles for person and the rest; "),
        ({"output": Path("out.txt")}, "unknown picture ending"),
        ({"model": "nowhere"}, "give a --workdir of train.py"),
    ],
)
def test_invalid_jobs_are_rejected_before_any_work(
    model: Path, scene: Path, tmp_path: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run_job(quick_config(), replace(job(model, scene / "photo.png", tmp_path / "out.png"), **change))
    assert not list(tmp_path.glob("out*"))


def test_damaged_and_foreign_models_are_rejected(scene: Path, tmp_path: Path):
    (tmp_path / MODEL_FILE).write_bytes(b"no weights")
    with pytest.raises(UserError, match="is damaged"):
        load_feedforward(str(tmp_path))
    embedded = EMBEDDED_VGG16
    with pytest.raises(UserError, match="is not a fast model"):
        load_feedforward(str(embedded))
    way_out = r"is of an earlier version, which made one picture for each style; train again, in .* --config.start=any$"
    with pytest.raises(UserError, match=way_out):
        load_feedforward(str(earlier_model(tmp_path)))


def test_the_output_of_a_folder_is_a_folder(model: Path, scene: Path, tmp_path: Path):
    with pytest.raises(UserError, match="is the name of a picture; the pictures of a folder need a folder"):
        run_job(quick_config(), job(model, scene, tmp_path / "out.png"))
    assert default_output(str(scene), False) == Path("outputs") / scene.name


def test_command_accepts_a_model_and_prints_its_output(model: Path, scene: Path, tmp_path: Path):
    mask = f"--mask=person={scene / 'left.png'}"
    code, printed = run_command([str(scene / "photo.png"), f"--model={model}", mask, "-o", "out.png"], tmp_path)
    assert code == 0, printed
    assert (tmp_path / "out.png").exists()
    assert "wrote out.png" in printed


def test_weights_are_arguments_of_the_compiled_program_and_not_constants(model: Path):
    network = load_feedforward(str(model)).network
    photos, masks = np.zeros((1, 16, 16, 3), np.float32), np.full((1, 16, 16, 2), 0.5, np.float32)
    lowered = stylize_batch.lower(network, photos, masks, blend_mixtures(2, 0.0))
    assert len(jax.tree.leaves(lowered.args_info)) == len(jax.tree.leaves(network)) + 3


def paint(any_model: Path, scene: Path, output: Path, person: str = "a", **more: Any) -> np.ndarray:
    """The picture of a model for any painting, of the scene in the styles of `person`.png and b.png."""
    styles = {"person": str(scene / f"{person}.png"), "background": str(scene / "b.png")}
    masks = {"person": str(scene / "left.png")}
    settings = {"styles": styles, "masks": masks, **more}
    assert run_job(quick_config(feather=0.0), job(any_model, scene / "photo.png", output, **settings)) == 0
    return pixels(output).astype(int)


def test_a_model_for_any_painting_takes_the_paintings_of_the_job_and_records_them(
    any_model: Path, scene: Path, tmp_path: Path
):
    first, other = (paint(any_model, scene, tmp_path / f"{name}.png", person=name) for name in "ac")
    inside = pixels(scene / "left.png") > 0
    assert np.abs(first - other)[inside].mean() > 2
    sidecar = json.loads((tmp_path / "a.json").read_text())
    paintings = [str(scene / f"{name}.png") for name in "ab"]
    assert [region["style"] for region in sidecar["regions"]] == paintings
    assert sidecar["config"]["styles"] == [f"person={paintings[0]}", f"background={paintings[1]}"]
    assert sidecar["weights"] == MODEL_FILE


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        ({}, r"needs --style background=FILE, and one for each other region; found none$"),
        ({"person": "a.png"}, r"needs --style background=FILE, and one for each other region; found person$"),
        ({"person": "keep", "background": "b.png"}, r"^--style person=keep needs the optimization; give a painting, "),
        ({"background": "none.png"}, r"^style none.png does not exist"),
    ],
)
def test_a_model_for_any_painting_says_which_styles_it_needs(
    any_model: Path, scene: Path, tmp_path: Path, styles: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(scene)
    with pytest.raises(UserError, match=message):
        paint(any_model, scene, tmp_path / "out.png", styles=styles, masks={})
    assert not list(tmp_path.glob("out*"))


def test_a_point_gives_one_of_several_the_style_and_is_repeated_from_the_json(model: Path, scene: Path, monkeypatch):
    converted(monkeypatch)
    save(scene / "photo.png", painted(people()))
    one = job(model, scene / "photo.png", scene / "out.png", points=[Point("person", 40, 50)])
    assert run_job(quick_config(size=0), one) == 0
    sidecar = json.loads((scene / "out.json").read_text())
    assert sidecar["points"] == {"person": [40, 50]}
    (share,) = [region["share"] for region in sidecar["regions"] if region["name"] == "person"]
    assert share == pytest.approx((people()[:, 30:50] == PERSON).sum() / people().size, abs=0.02)
    assert run_command(["--config=out.json", "-o", "again.png"], scene)[0] == 0
    np.testing.assert_array_equal(pixels(scene / "again.png"), pixels(scene / "out.png"))
    code, stderr = run_command(["--config=out.json", "--point=person=20,5", "-o", "other.png"], scene)
    assert (code, stderr.splitlines()[-1][:68]) == (
        2,
        "stylize.py: --point person=20,5: there is no person at this point, o",
    )


def test_a_model_for_any_painting_takes_instances_and_says_which_regions_a_photo_lacks(
    any_model: Path, scene: Path, monkeypatch, caplog
):
    converted(monkeypatch)
    save(scene / "photo.png", painted(people()))
    styles = {name: str(scene / "a.png") for name in ("person#2", "person", "cat", "background")}
    one = job(any_model, scene / "photo.png", scene / "out.png", styles=styles)
    assert run_job(quick_config(size=0), one) == 0
    shares = {region["name"]: region["share"] for region in json.loads((scene / "out.json").read_text())["regions"]}
    assert 0 < shares["person#2"] < shares["person"]
    assert "region 'cat' was not found in the photo; found: person#2 " in caplog.text
    beyond = replace(one, styles={"person#4": str(scene / "a.png"), "background": str(scene / "a.png")})
    with pytest.raises(UserError, match="'person#4' was not found in the photo, which has 3 of person"):
        run_job(quick_config(size=0), beyond)
