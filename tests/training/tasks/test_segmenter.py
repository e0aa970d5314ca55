"""The segmenter of several classes: where it starts, what it learns from, and what its file says."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image
from safetensors.numpy import save_file

from msst_jax.configs import segmenter as preset
from msst_jax.errors import UserError
from msst_jax.models.deeplab import LITE_NETWORK
from msst_jax.models.efficientnet import EfficientNetLite
from msst_jax.models.pretrained import load_deeplab
from msst_jax.models.serialization import WEIGHT_TYPES, assign_tensors, parameter_shapes, state_to_tensors
from msst_jax.models.voc import CLASSES
from msst_jax.ops.image import normalize
from msst_jax.pipelines.train import run
from msst_jax.presets.validation import check_segmenter_config
from msst_jax.regions.segmenter import load_segmenter
from msst_jax.training.build import build_loop_options, build_segmenter_options
from msst_jax.training.run_record import LATER_FIELDS, differences
from msst_jax.training.step import build_train_optimizer
from msst_jax.training.task import Task
from msst_jax.training.tasks import segmenter
from msst_jax.training.tasks.segmenter_weights import with_our_normalization
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import curve, job

FEW = ("cat", "person")


def small_config(**changes: Any) -> ConfigDict:
    config = preset.get_config()
    small = {"start": "random", "size": 32, "batch": 4, "warmup": 0, "steps": 2, "samples": 2, "workers": 2}
    config.update({**small, "log_every": 1, "sample_every": 1, "checkpoint_every": 2, "classes": FEW, **changes})
    return config


def batch_of(masks: np.ndarray) -> dict[str, np.ndarray]:
    return {"photo": np.stack([noise(*masks.shape[1:3], seed) for seed in range(len(masks))]), "masks": masks}


@pytest.fixture(scope="module")
def task() -> Task:
    return made(small_config())


def made(config: ConfigDict) -> Task:
    masks = np.zeros((2, 32, 32, 4), np.float32)
    masks[..., 0] = 1
    return segmenter.load_task_spec(build_segmenter_options(config), {}).build(batch_of(masks))


def test_the_preset_trains_all_classes_of_voc_on_the_network_in_the_package():
    config = preset.get_config()
    check_segmenter_config(config)
    options = build_segmenter_options(config)
    assert options.network == LITE_NETWORK
    assert options.class_indices == tuple(range(21))


def test_a_run_reads_the_masks_of_its_regions_and_of_unlabeled_pixels_and_computes_only_the_former():
    spec = segmenter.load_task_spec(build_segmenter_options(small_config()), {})
    assert spec.regions == ("background", "cat", "person")
    assert spec.given == ("void",)
    one = segmenter.load_task_spec(build_segmenter_options(small_config(classes=("cat",))), {})
    assert one.given == ()


def test_void_pixels_have_no_label_even_where_a_class_claims_them_too():
    masks = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0.5, 0, 0.5], [0, 0.25, 0.75, 0], [0, 0, 0.75, 0.25]], np.float32)
    found = segmenter.labels({"masks": masks[None, None]}, FEW)[0, 0]
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0.25, 0.75], [0, 0, 0.75]])
    three = masks[None, None, :, :3]
    np.testing.assert_array_equal(segmenter.labels({"masks": three}, FEW), three)


def test_training_starts_from_the_encoder_and_the_statistics_of_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"convert_weights efficientnet_lite0`; or .*--config.start=random"):
        made(small_config(start="imagenet"))
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(nnx.eval_shape(lambda: EfficientNetLite(rngs=nnx.Rngs(0))))
    tensors = {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "efficientnet_lite0.safetensors")
    task = made(small_config(start="imagenet"))
    learned, frozen = state_to_tensors(task.init(jax.random.key(0))), state_to_tensors(task.frozen)
    for name, value in with_our_normalization(tensors).items():
        held = frozen if name.endswith((".mean", ".var")) else learned
        np.testing.assert_array_equal(held[f"backbone.{name}"], value)


def test_the_encoder_sees_our_normalization_as_the_one_that_it_was_trained_with():
    encoder = EfficientNetLite(rngs=nnx.Rngs(0))
    weights = state_to_tensors(nnx.state(encoder, nnx.Any(*WEIGHT_TYPES)))
    ours = assign_tensors(encoder, with_our_normalization(weights), "")
    photo = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 16, 3)), jnp.float32)
    seen = ours.stem(normalize(photo))
    trained = assign_tensors(encoder, weights, "").stem((255 * photo - 127) / 128)
    inside = np.s_[:, 1:-1, 1:-1]  # the padding is another gray
    np.testing.assert_allclose(seen[inside], trained[inside], rtol=1e-4, atol=1e-5)


def test_the_encoder_learns_at_its_own_rate(task: Task):
    params = {"backbone": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    optimizer = build_train_optimizer(build_loop_options(small_config()).optimization, task.rate)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert float(optax.tree.norm(updates["head"])) > 0
    np.testing.assert_allclose(updates["backbone"]["kernel"], 0.1 * updates["head"]["kernel"], rtol=1e-6)
    assert made(small_config(encoder_rate=1.0)).rate is None


def test_the_file_names_its_classes_and_a_segmenter_finds_them(task: Task, tmp_path: Path):
    params = task.init(jax.random.key(3))
    task.save(tmp_path / "model.safetensors", params)
    found = load_segmenter(str(tmp_path), FEW)
    assert found.predicted == ("background", *FEW)
    again = state_to_tensors(made(small_config(start=str(tmp_path))).init(jax.random.key(0)))
    for name, value in state_to_tensors(params).items():
        np.testing.assert_array_equal(again[name], value.astype(np.float16))


@pytest.mark.parametrize("classes", [("dog", "person"), ("person", "cat"), CLASSES[1:]])
def test_training_does_not_start_from_weights_of_other_classes(task: Task, tmp_path: Path, classes: tuple[str, ...]):
    task.save(tmp_path / "model.safetensors", task.init(jax.random.key(3)))
    said = rf"are of the classes cat, person, expected {', '.join(classes)}; give the former as config.classes, in"
    with pytest.raises(UserError, match=said):
        made(small_config(start=str(tmp_path), classes=classes))


def test_a_file_of_classes_that_are_not_of_voc_is_refused(tmp_path: Path):
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "m.safetensors", metadata={"classes": "background,unicorn"})
    with pytest.raises(UserError, match="of the class unicorn, which is not of VOC"):
        load_deeplab(LITE_NETWORK, path=tmp_path / "m.safetensors")


def test_wrong_fields_are_refused_in_one_line():
    for field, value, message in (
        ("classes", (), r"config\.classes is \(\); give some of aeroplane, "),
        ("classes", ("cat", "cat"), r"each once"),
        ("classes", ("background",), r"config\.classes is \('background',\)"),
        ("segmenter_network", "deeplabv3_resnet50", r"config\.segmenter_network"),
        ("encoder_rate", -1.0, r"config\.encoder_rate"),
    ):
        with pytest.raises(UserError, match=message):
            check_segmenter_config(small_config(**{field: value}))


def test_a_run_that_an_earlier_version_began_is_one_of_the_person_segmenter():
    now = json.loads(small_config(segmenter_network="person_vgg16", classes=("person",), encoder_rate=1.0).to_json())
    then = {name: value for name, value in now.items() if name not in LATER_FIELDS or name == "start"}
    files = {"photos": {}, "masks": {}}
    runs = ({"config": config, "styles": {}} for config in (then, now))
    assert differences(*runs, files, files) == []
    other = {"config": {**now, "classes": ["cat"]}, "styles": {}}
    assert differences({"config": then, "styles": {}}, other, files, files) == [
        "config.classes was ['person'], now ['cat']"
    ]


@pytest.mark.slow  # a step of a network of real size
def test_a_run_learns_from_masks_of_some_classes_and_void_and_records_both_scores(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        save(tmp_path / "photos" / f"{number}.png", noise(40, 40, number))
    for folder, number in (("cat", 0), ("person", 1), ("person", 2), ("void", 2)):
        (tmp_path / "masks" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), 200).save(tmp_path / "masks" / folder / f"{number}.png")
    assert run(small_config(), job(tmp_path, styles={})) == 0
    records = curve(tmp_path / "run")
    assert {"held_out_iou", "held_out_person_iou"} <= {name for record in records for name in record}
    assert load_segmenter(str(tmp_path / "run")).predicted == ("background", *FEW)
