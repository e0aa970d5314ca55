"""The person segmenter: its network equals a PyTorch twin, it trains like any task, and its file is small."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from safetensors.numpy import save_file
from torch import Tensor

from msst_jax.configs import person_segmenter as preset
from msst_jax.errors import UserError
from msst_jax.models import pretrained
from msst_jax.models.deeplab import HEAD_CONFIGS, PERSON_NETWORK, DeepLabV3
from msst_jax.models.low_rank_vgg import ADAPTED, LOW_RANK
from msst_jax.models.pretrained import EMBEDDED_PERSON, EMBEDDED_PREFIX, EMBEDDED_VGG16, load_person_segmenter
from msst_jax.models.serialization import read_tensors, state_to_tensors
from msst_jax.ops.image import normalize
from msst_jax.pipelines.train import run
from msst_jax.training.build import build_loop_options, build_segmenter_options
from msst_jax.training.step import (
    build_train_optimizer,
    data_parallel,
    init_train_state,
    make_train_step,
    replicate,
    shard_batch,
)
from msst_jax.training.task import Task
from msst_jax.training.tasks import segmenter
from reference import original
from tests.helpers.pictures import noise
from tests.helpers.training_data import partly_labeled_batch
from tests.helpers.training_runs import curve, job, make_photos

DEVICES = 4
TOLERANCE = 2e-5  # of the largest value


def small_config(**changes: Any) -> ConfigDict:
    config = preset.get_config()
    small = {"start": "random", "size": 32, "batch": 4, "warmup": 2, "steps": 6, "samples": 2, "workers": 2}
    config.update({**small, "log_every": 1, "sample_every": 3, "checkpoint_every": 3, **changes})
    return config


@pytest.fixture(scope="module")
def task() -> Task:
    return segmenter.make_task(build_segmenter_options(small_config()), {}, partly_labeled_batch(3))


@pytest.fixture(scope="module")
def network(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], DeepLabV3]:
    """Random parameters, including biases, as stored in a file, and the network loaded from it."""
    params = task.init(jax.random.key(5))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.02 * rng.normal(size=leaf.shape).astype(np.float32), params)
    path = tmp_path_factory.mktemp("person") / "model.safetensors"
    task.save(path, params)
    return read_tensors(path), load_person_segmenter(path)


def twin(tensors: dict[str, np.ndarray], images: np.ndarray) -> Tensor:
    """Scores (N, 2, H, W) of normalized images (N, H, W, 3), computed in PyTorch from the file's tensors."""

    def conv(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        kernel = torch.from_numpy(tensors[f"{name}.kernel"]).permute(3, 2, 0, 1)
        bias = tensors.get(f"{name}.bias") if f"{name}.scale" not in tensors else None
        padding = kernel.shape[-1] // 2 * dilation
        return F.conv2d(x, kernel, None if bias is None else torch.from_numpy(bias), padding=padding, dilation=dilation)

    def norm(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        mean, var, scale, bias = (
            torch.from_numpy(tensors[f"{name}.{part}"]) for part in ("mean", "var", "scale", "bias")
        )
        return F.relu(F.batch_norm(conv(x, name, dilation), mean, var, scale, bias))

    vgg = original.network(EMBEDDED_VGG16)
    layers = dict(vgg.named_children())
    x = original.to_tensor(images)
    for name, layer in layers.items():
        change = f"backbone.{name}_change"
        x = layer(x) + conv(conv(x, f"{change}.inner"), f"{change}.outer") if name in ADAPTED else layer(x)
    low = x
    x = F.max_pool2d(low, 2)
    for name in LOW_RANK:
        x = F.relu(conv(conv(x, f"backbone.{name}.inner"), f"backbone.{name}.outer"))
    x = norm(x, "backbone.reduce")
    branches = [
        norm(x, f"aspp.branches.{index}", rate) for index, rate in enumerate((1, *HEAD_CONFIGS[PERSON_NETWORK].rates))
    ]
    mean = norm(x.mean((2, 3), keepdim=True), "aspp.pooling").expand_as(branches[0])
    x = norm(torch.cat([*branches, mean], 1), "aspp.project")
    x = F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=False)
    x = norm(torch.cat([x, norm(low, "low")], 1), "head")
    return F.interpolate(conv(x, "scores"), size=images.shape[1:3], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_the_network_equals_its_pytorch_twin(network: tuple[dict[str, np.ndarray], DeepLabV3], size: tuple[int, int]):
    tensors, model = network
    images = np.asarray(normalize(jnp.asarray(noise(*size)[None], jnp.float32) / 255))
    with torch.inference_mode():
        expected = twin(tensors, images).permute(0, 2, 3, 1).numpy()
    assert model.classes == (0, 15)
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.slow  # tests/training/test_step.py with a network of real size
def test_a_step_on_four_devices_equals_the_step_on_one(task: Task):
    optimizer = build_train_optimizer(build_loop_options(small_config(warmup=0)).optimization)
    batch = partly_labeled_batch(DEVICES)
    made = []
    for devices in (jax.local_devices()[:1], jax.local_devices()):
        step = data_parallel(make_train_step(task.loss, optimizer, 0.9), devices)
        state = replicate(init_train_state(task, optimizer, 0), devices)
        made.append(step(state, replicate(task.frozen, devices), shard_batch(batch, len(devices))))
    (one, one_metrics), (four, four_metrics) = jax.device_get(made)
    for first, second in zip(jax.tree.leaves(one.optimizer), jax.tree.leaves(four.optimizer), strict=True):
        np.testing.assert_allclose(second, first, rtol=0, atol=1e-5 * np.abs(first).max())
    np.testing.assert_allclose(four_metrics["loss"], one_metrics["loss"], rtol=1e-5)


def test_training_does_not_change_the_embedded_features(task: Task):
    learned = state_to_tensors(task.init(jax.random.key(0)))
    assert not [name for name in learned if name.startswith(EMBEDDED_PREFIX)]
    held = state_to_tensors(task.frozen)
    for name, value in pretrained.embedded_vgg_tensors().items():
        np.testing.assert_array_equal(held[name], value)


def test_the_file_holds_only_learned_parameters_in_at_most_6_megabytes(task: Task, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    params = task.init(jax.random.key(0))
    task.save(path, params)
    assert path.stat().st_size <= 6e6
    tensors = read_tensors(path)
    assert not [name for name in tensors if name.startswith(EMBEDDED_PREFIX)]
    for name, value in state_to_tensors(params).items():
        np.testing.assert_array_equal(tensors[name], value.astype(np.float16))


@pytest.mark.slow
def test_training_can_start_from_conv5_of_a_converted_vgg16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(9 * 512, 128)).astype(np.float32) @ rng.normal(size=(128, 512)).astype(np.float32)
    deep = {f"{name}.kernel": low.reshape(3, 3, 512, 512) / 100 for name in LOW_RANK}
    deep |= {f"{name}.bias": rng.normal(size=512).astype(np.float32) for name in LOW_RANK}
    save_file({**read_tensors(EMBEDDED_VGG16), **deep}, tmp_path / "vgg16.safetensors")
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))
    spec = segmenter.load_task_spec(build_segmenter_options(small_config(start="vgg16")), {})
    params = state_to_tensors(spec.build(partly_labeled_batch(1)).init(jax.random.key(0)))
    for name in LOW_RANK:
        inner, outer = params[f"backbone.{name}.inner.kernel"], params[f"backbone.{name}.outer.kernel"]
        product = np.einsum("hwir,xyro->hwio", inner, outer)
        np.testing.assert_allclose(product, deep[f"{name}.kernel"], atol=1e-4 * np.abs(product).max())
        np.testing.assert_array_equal(params[f"backbone.{name}.outer.bias"], deep[f"{name}.bias"])


def test_training_can_start_from_a_trained_model(task: Task, tmp_path: Path):
    params = task.init(jax.random.key(3))
    task.save(tmp_path / "model.safetensors", params)
    for start in (tmp_path, tmp_path / "model.safetensors"):
        spec = segmenter.load_task_spec(build_segmenter_options(small_config(start=str(start))), {})
        initial = state_to_tensors(spec.build(partly_labeled_batch(1)).init(jax.random.key(0)))
        for name, value in state_to_tensors(params).items():
            np.testing.assert_array_equal(initial[name], value.astype(np.float16))


def test_training_starts_from_the_embedded_network_by_default(tmp_path: Path):
    spec = segmenter.load_task_spec(build_segmenter_options(preset.get_config()), {})
    initial = state_to_tensors(spec.build(partly_labeled_batch(1)).init(jax.random.key(0)))
    held = read_tensors(EMBEDDED_PERSON)
    assert initial.keys() <= held.keys()
    for name, value in initial.items():
        np.testing.assert_array_equal(value, held[name])


def test_an_unsuitable_start_is_rejected_before_anything_is_written():
    with pytest.raises(UserError, match=r"weights nowhere\.safetensors do not exist"):
        segmenter.load_task_spec(build_segmenter_options(small_config(start="nowhere.safetensors")), {})
    with pytest.raises(UserError, match=r"do not fit: .*conv1_1.bias is not part of the network"):
        segmenter.load_task_spec(build_segmenter_options(small_config(start=str(EMBEDDED_VGG16))), {})


def test_a_new_network_starts_with_unchanged_embedded_layers(task: Task):
    params = state_to_tensors(task.init(jax.random.key(0)))
    for name in ADAPTED:
        assert not params[f"backbone.{name}_change.outer.kernel"].any()
        assert params[f"backbone.{name}_change.inner.kernel"].any()


def test_without_the_complete_vgg16_the_error_says_how_to_convert_it_or_train_without_it():
    with pytest.raises(UserError, match=r"convert_weights vgg16.*--config.start=random"):
        segmenter.load_task_spec(build_segmenter_options(small_config(start="vgg16")), {})


def test_a_style_is_rejected():
    with pytest.raises(UserError, match="--style person=FILE has no effect"):
        segmenter.load_task_spec(build_segmenter_options(small_config()), {"person": "a.jpg"})


def test_random_regions_are_rejected():
    with pytest.raises(UserError, match=r"config\.without_mask is 'random', .*; use error or background"):
        segmenter.load_task_spec(build_segmenter_options(small_config(without_mask="random")), {})


@pytest.mark.slow
def test_a_run_excludes_the_test_photos_and_writes_a_segmenter(tmp_path: Path):
    make_photos(tmp_path, 24)
    listed = ["file,also_in_voc21", *(f"{index:02d},{int(index >= 20)}" for index in range(24))]
    (tmp_path / "index.csv").write_text("\n".join(listed))
    assert run(small_config(), job(tmp_path, styles={})) == 0
    used = json.loads((tmp_path / "run" / "used_files.json").read_text())
    names = {Path(file).stem for file in used["photos"]}
    assert names == {f"{index:02d}" for index in range(20)}
    scores = [record["held_out_iou"] for record in curve(tmp_path / "run") if "held_out_iou" in record]
    assert len(scores) == 2
    assert load_person_segmenter(tmp_path / "run" / "model.safetensors").classes == (0, 15)
