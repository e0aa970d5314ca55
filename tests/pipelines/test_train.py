"""A training run up to its loop, which is mocked: inputs, cached masks, rejected input, and warnings."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.pipelines import train as train_job
from msst_jax.pipelines.train import run
from msst_jax.registry import TASKS
from msst_jax.training.data.augment import CropOptions, center_crop
from msst_jax.training.tasks import stylizer
from tests.helpers.pictures import noise, save
from tests.helpers.segmenters import animals, convert, converted, fake_networks, painted, refinements
from tests.helpers.training_data import pack
from tests.helpers.training_runs import job, make_photos, tiny_config


@pytest.fixture(autouse=True)
def all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def segmenters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the segmenters that were loaded."""
    return converted(monkeypatch)


def test_masks_are_segmented_once_and_reused(tmp_path: Path, calls, segmenters):
    make_photos(tmp_path, 4)
    for photo in (tmp_path / "photos").iterdir():
        save(photo, painted(animals()))
    wanted = job(tmp_path, masks=[])
    assert run(tiny_config(), wanted) == 0
    masks = sorted((tmp_path / "run" / "masks" / "person").iterdir())
    assert [mask.name for mask in masks] == ["00.png", "01.png", "02.png", "03.png"]
    with Image.open(masks[0]) as mask:
        assert mask.size == (80, 60)
    times = [mask.stat().st_mtime_ns for mask in masks]
    for batch in calls[0]["batches"]:
        red = (batch["photo"][..., 0] > 200) & (batch["photo"][..., 1] < 50)
        assert batch["masks"][red][:, 0].mean() / 255 > 0.7
        assert batch["masks"][~red][:, 0].mean() / 255 < 0.2
    assert run(tiny_config(), wanted) == 0
    assert segmenters == ["deeplabv3_resnet101"]
    assert [mask.stat().st_mtime_ns for mask in masks] == times
    masks[1].unlink()
    assert run(tiny_config(), wanted) == 0
    assert len(segmenters) == 2
    assert masks[1].exists()
    assert masks[0].stat().st_mtime_ns == times[0]


@pytest.mark.slow
def test_all_masks_of_a_run_come_from_its_first_network(tmp_path: Path, calls, monkeypatch, caplog):
    """A network converted later segments nothing, unless the run is restarted."""
    loaded = fake_networks(monkeypatch)
    make_photos(tmp_path, 4)
    wanted = job(tmp_path, masks=[])
    recorded = tmp_path / "run" / "config.json"
    assert run(tiny_config(), wanted) == 0
    assert json.loads(recorded.read_text())["config"]["segmenter"] == "deeplabv3_efficientnet_lite0"
    assert "segmenter: deeplabv3_efficientnet_lite0, which is small; for finer masks: `python -m " in caplog.text
    convert("deeplabv3_resnet101")
    (tmp_path / "run" / "masks" / "person" / "02.png").unlink()
    assert run(tiny_config(), wanted) == 0
    assert run(tiny_config(segmenter="deeplabv3_efficientnet_lite0"), wanted) == 0
    assert loaded == ["deeplabv3_efficientnet_lite0"] * 2
    with pytest.raises(
        UserError, match=r"config.segmenter was 'deeplabv3_efficientnet_lite0', now 'deeplabv3_resnet101'; take another"
    ):
        run(tiny_config(segmenter="deeplabv3_resnet101"), wanted)
    assert run(tiny_config(), replace(wanted, restart=True)) == 0
    assert loaded[2:] == ["deeplabv3_resnet101"]
    assert json.loads(recorded.read_text())["config"]["segmenter"] == "deeplabv3_resnet101"


def test_all_hosts_segment_with_the_network_of_the_first_host(tmp_path: Path, calls, monkeypatch):
    loaded = fake_networks(monkeypatch)
    monkeypatch.setattr(train_job, "text_of_host0", lambda _: "deeplabv3_resnet50")
    make_photos(tmp_path, 4)
    assert run(tiny_config(), job(tmp_path, masks=[])) == 0
    assert loaded == ["deeplabv3_resnet50"]


def test_a_region_unknown_to_the_segmenter_is_rejected_before_anything_is_written(tmp_path, calls, monkeypatch):
    fake_networks(monkeypatch)
    make_photos(tmp_path, 4)
    styles = {"dog": str(tmp_path / "a.png"), **job(tmp_path).styles}
    with pytest.raises(UserError, match=r"^person_vgg16 segments only person, not dog; .*, or give --masks DIR$"):
        run(tiny_config(segmenter="person_vgg16"), job(tmp_path, masks=[], styles=styles))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("refine", [True, False])
def test_mask_edges_are_refined_at_the_size_of_the_photo(tmp_path: Path, calls, segmenters, monkeypatch, refine):
    refined = refinements(monkeypatch)
    make_photos(tmp_path, 3)
    assert run(tiny_config(refine_edges=refine), job(tmp_path, masks=[])) == 0
    assert sorted(refined) == ([(36, 44), (37, 44), (38, 44)] if refine else [])


def test_a_damaged_photo_is_not_segmented_and_does_not_stop_the_run(tmp_path, calls, segmenters, caplog):
    make_photos(tmp_path, 5)
    damage(tmp_path / "photos" / "02.png")
    assert run(tiny_config(), job(tmp_path, masks=[])) == 0
    assert not (tmp_path / "run" / "masks" / "person" / "02.png").exists()
    assert "left out: photo" in caplog.text


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_photos_are_skipped_and_small_ones_enlarged_and_both_are_reported(tmp_path: Path, calls, caplog):
    make_photos(tmp_path, 12)
    damage(tmp_path / "photos" / "03.png")
    damage(tmp_path / "photos" / "07.png")
    save(tmp_path / "photos" / "05.png", noise(20, 30))
    save(tmp_path / "photos" / "06.png", noise(30, 31))
    assert run(tiny_config(batch=12), job(tmp_path)) == 0
    for name in ("03.png", "07.png"):
        assert caplog.text.count(f"{name} is damaged or cannot be read") == 1
    assert "2 photos could not be read and were left out" in caplog.text
    assert "2 photos are smaller than the crop and were enlarged" in caplog.text
    assert "2 steps were not finite and were skipped" in caplog.text
    assert "done at step 6: " in caplog.text


def test_a_damaged_photo_of_the_sample_sheet_is_reported_and_replaced(tmp_path: Path, calls, caplog, monkeypatch):
    make_photos(tmp_path, 20)
    damage(tmp_path / "photos" / "00.png")
    shown = []

    def make(*inputs: Any) -> Any:
        shown.append(inputs[-1])
        return task(*inputs)

    task = stylizer.make_task
    monkeypatch.setattr(stylizer, "make_task", make)
    assert run(tiny_config(samples=2, batch=20), job(tmp_path)) == 0
    assert caplog.text.count("00.png is damaged") == 1
    with Image.open(tmp_path / "photos" / "10.png") as held_out:
        expected = center_crop({"photo": held_out, "masks": {}}, CropOptions(32, 1.0), ["background"])["photo"]
    np.testing.assert_array_equal(shown[0]["photo"], [expected, expected])


def test_a_single_photo_is_accepted_with_a_warning(tmp_path: Path, calls, caplog):
    make_photos(tmp_path, 1)
    assert run(tiny_config(), job(tmp_path)) == 0
    assert "few photos (1): the model will know little else" in caplog.text
    assert calls[0]["batches"][0]["photo"].shape == (4, 32, 32, 3)


@pytest.mark.parametrize(("count", "warned"), [(9, True), (10, False)])
def test_a_warning_is_logged_if_too_few_photos_to_hold_any_out(tmp_path, calls, caplog, count, warned):
    make_photos(tmp_path, count)
    assert run(tiny_config(), job(tmp_path)) == 0
    assert (f"too few photos to hold any out ({count}; from 10 on some are)" in caplog.text) == warned


def test_a_single_style_needs_no_masks(tmp_path: Path, calls, segmenters):
    make_photos(tmp_path, 4)
    styles = {"background": str(tmp_path / "a.png")}
    assert run(tiny_config(), job(tmp_path, styles=styles, masks=[])) == 0
    np.testing.assert_array_equal(calls[0]["batches"][0]["masks"] / 255, 1)
    assert not segmenters


def test_photos_without_a_mask_are_an_error_or_get_random_regions(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    (tmp_path / "masks" / "01.png").unlink()
    with pytest.raises(
        UserError, match=r"1 of 4 photos have no mask in .* \(the first: 01\); add the masks, or set how"
    ):
        run(tiny_config(), job(tmp_path))
    assert not (tmp_path / "run").exists()
    assert run(tiny_config(without_mask="random"), job(tmp_path)) == 0


def test_hosts_compare_all_settings_but_the_places_of_files_and_the_threads(tmp_path: Path, calls, monkeypatch):
    make_photos(tmp_path, 4)
    compared: list[Any] = []
    monkeypatch.setattr(train_job, "check_same_inputs", compared.append)
    config = tiny_config()
    assert run(config, job(tmp_path)) == 0
    settings, used, styles = compared[0]
    assert {*config} - {*settings} == {"workers", "segmenter", "start"}
    assert used["photos"]
    assert styles["person"]["file"] == "a.png"


def test_packed_photos_bring_their_masks_and_a_run_goes_on_only_with_the_same(tmp_path: Path, calls, segmenters):
    make_photos(tmp_path, 12)
    packed, other = pack(tmp_path), pack(tmp_path, "--size=30", out="other")
    wanted = job(tmp_path, photos=[str(packed)], masks=[])
    for given in (wanted, wanted, job(tmp_path, workdir=tmp_path / "folders")):
        assert run(tiny_config(), given) == 0
    for field in ("photo", "masks"):
        np.testing.assert_array_equal(calls[0]["batches"][0][field], calls[2]["batches"][0][field])
    assert not segmenters
    assert not (tmp_path / "run" / "masks").exists()
    with pytest.raises(
        UserError,
        match=r"the photos have changed: 1 of (another size|other content) \(the first: packed_photos.json\); tak",
    ):
        run(tiny_config(), replace(wanted, photos=[str(other)]))


def test_packed_photos_without_a_mask_are_an_error_unless_the_config_says_how_they_are_used(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    (tmp_path / "masks" / "01.png").unlink()
    wanted = job(tmp_path, photos=[str(pack(tmp_path, "--allow-missing"))], masks=[])
    with pytest.raises(
        UserError, match=r"1 of 4 photos have no mask in .*packed \(the first: 01\); add the masks, or set"
    ):
        run(tiny_config(), wanted)
    assert run(tiny_config(without_mask="random"), wanted) == 0


def test_computed_masks_that_this_host_does_not_see_end_the_run(tmp_path: Path, calls, segmenters, monkeypatch):
    """As where each host has a disk of its own."""
    make_photos(tmp_path, 4)
    generate = train_job.generate_masks

    def lose_one(*arguments: Any, **more: Any) -> None:
        generate(*arguments, **more)
        (tmp_path / "run" / "masks" / "person" / "02.png").unlink()

    monkeypatch.setattr(train_job, "generate_masks", lose_one)
    with pytest.raises(
        UserError, match=r"1 of 4 photos have no mask in .*; give a --workdir on a disk that all hosts sh"
    ):
        run(tiny_config(), job(tmp_path, masks=[]))
    assert not calls


def test_photos_of_equal_name_are_rejected_as_they_would_share_a_mask(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    save(tmp_path / "photos" / "02.jpg", noise(40, 40))
    with pytest.raises(UserError, match=r"1 names belong to more than one photo \(the first: 02\)"):
        run(tiny_config(), job(tmp_path))


def test_missing_segmenter_weights_are_reported_before_anything_is_written(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    message = r"run `python -m msst_jax.convert_weights deeplabv3_resnet101`.*; or do without it: give --masks DIR$"
    with pytest.raises(UserError, match=message):
        run(tiny_config(segmenter="deeplabv3_resnet101"), job(tmp_path, masks=[]))
    with pytest.raises(UserError, match="no region 'statue'"):
        run(tiny_config(), job(tmp_path, masks=[], styles={"statue": str(tmp_path / "a.png"), **job(tmp_path).styles}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "config.steps is -1; it must be an integer of at least 1"),
        ({"width": 0}, "config.width is 0; it must be an integer of at least 1"),
        ({"size": 15}, "config.size is 15; it must be an integer of at least 16"),
        ({"style_size": 8}, "config.style_size is 8; use at least 16, or 0"),
        ({"batch": 0}, "config.batch is 0"),
        ({"batch": 6}, "config.batch is 6, not divisible by 4 devices; use 8"),
        ({"samples": 0}, "config.samples is 0"),
        ({"checkpoint_every": 0}, "config.checkpoint_every is 0"),
        ({"seed": 2**32}, r"config.seed is 4294967296; it must be at most 4294967295"),
        ({"learning_rate": 0.0}, "config.learning_rate is 0.0; it must be above zero"),
        ({"learning_rate": np.nan}, "config.learning_rate is nan"),
        ({"clip": -1.0}, "config.clip is -1.0; it must be zero or more"),
        ({"ema": 1.5}, "config.ema is 1.5; it must be at most 1"),
        ({"smallest_crop": 2.0}, "config.smallest_crop is 2.0; it must be at most 1"),
        ({"smallest_crop": 0.0}, "config.smallest_crop is 0.0; it must be above zero"),
        ({"largest_crop": 0.3}, "config.largest_crop is 0.3; use at least smallest_crop, 0.5"),
        ({"largest_crop": 1.5}, "config.largest_crop is 1.5; crops must lie within the photo: use at most 1"),
        ({"largest_crop": 1e6}, "config.largest_crop is 1000000.0; it must be at most 4.0"),
        ({"colour": 1.5}, "config.colour is 1.5; it must be at most 1"),
        ({"blend_ratio": 1e37}, r"config.blend_ratio times config.style_weight is 2e\+39; it must be at most"),
        ({"network": "vgg11"}, "config.network is 'vgg11'; use one of vgg16, vgg19"),
        ({"precision": "tf32"}, "config.precision is 'tf32'; use one of highest, default, bfloat16"),
        ({"segmenter": "yolo"}, "config.segmenter is 'yolo'"),
        ({"without_mask": "guess"}, "config.without_mask is 'guess'; use one of error, random, background"),
        ({"task": "dance"}, "config.task is 'dance'"),
        ({"style_layers": ()}, "config.style_layers is \\(\\); name at least one layer"),
        ({"style_layers": ("relu9_1",)}, "vgg16 has no layer 'relu9_1'; it has conv1_1"),
        ({"style_layer_weights": (1.0, 2.0)}, "config.style_layer_weights has 2 values for 1 layers"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, next(iter(value.items())))),
)
def test_invalid_config_values_are_rejected_before_anything_is_written(tmp_path: Path, changes, message: str):
    make_photos(tmp_path, 2)
    with pytest.raises(UserError, match=message):
        run(tiny_config(**changes), job(tmp_path))
    assert not (tmp_path / "run").exists()


def test_every_task_allowed_in_a_config_exists():
    assert set(TASKS.reserved) == train_job.BUILTIN_TASKS.keys()
