"""Training on many paintings: it resumes exactly, any number of devices takes the same step, and others can go on."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.models import feedforward_model
from msst_jax.models.any_model import load_predictor_vgg
from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.models.serialization import read_tensors
from msst_jax.models.style_predictor import MOMENTS, standardization
from msst_jax.pipelines.train import run
from msst_jax.training.build import build_any_stylizer_options, build_loop_options
from msst_jax.training.checkpoints import open_checkpoints
from msst_jax.training.task import Task
from msst_jax.training.tasks import any_stylizer
from msst_jax.training.tasks.any_stylizer import draw_styles, load_task_spec, mix_views, photos_and_masks
from msst_jax.transfer.fast_model import open_model
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import curve, job, tiny_any_config
from tests.helpers.training_steps import (
    DEVICES,
    assert_near,
    largest_gradients,
    lowered,
    perturbed,
    random_batch,
    start,
    steps_on_four_devices_and_one,
)


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paintings")
    for seed, size in enumerate(((40, 52), (36, 30), (64, 48))):
        save(folder / f"{seed}.png", noise(*size, seed))
    return folder


def drawn_batch(config: ConfigDict, count: int) -> dict[str, np.ndarray]:
    """`random_batch` with what the task draws, as the pipeline joins it."""
    draw = load_task_spec(build_any_stylizer_options(config), {}).draw
    assert draw
    fields = [draw(np.random.default_rng(seed)) for seed in range(count)]
    return {**random_batch(count), **{name: np.stack([each[name] for each in fields]) for name in fields[0]}}


def task_of(config: ConfigDict) -> Task:
    return load_task_spec(build_any_stylizer_options(config), {}).build(drawn_batch(config, 1))


@pytest.fixture(scope="module")
def config(paintings: Path) -> ConfigDict:
    return tiny_any_config(paintings, warmup=0, temporal_weight=1.0)


@pytest.fixture(scope="module")
def task(config: ConfigDict) -> Task:
    return task_of(config)


def test_a_step_on_four_devices_equals_the_step_on_one_and_every_parameter_moves(config: ConfigDict, task: Task):
    state, step = start(build_loop_options(config), task)
    state = jax.device_get(state._replace(params=perturbed(state.params, seed=5)))  # not at the kink of a ReLU
    batch = drawn_batch(config, DEVICES)
    (four, metrics), (one, expected) = steps_on_four_devices_and_one(task, state, step, batch)
    assert_near(metrics, expected, 1e-5)
    assert_near(*(each.optimizer[1][0].mu for each in (four, one)), 1e-5)
    assert metrics.keys() >= {"loss", "style", "blend", "content", "smooth", "temporal", "gradient_norm"}
    assert min(largest_gradients(one).values()) > 0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_step_lowers_for_tpu_and_cuda_without_such_a_device(config: ConfigDict, task: Task, platform: str):
    module = lowered(build_loop_options(config), task, drawn_batch(config, DEVICES), platform)
    assert "stablehlo.convolution" in module
    assert "stablehlo.all_reduce" in module


def state_of(workdir: Path, step: int) -> Any:
    with open_checkpoints(workdir / "checkpoints", keep_last=3, keep_every=0) as saved:
        return saved.load_checkpointables(step, {"state": None})["state"]


@pytest.mark.slow
def test_a_run_resumes_to_the_same_weights_and_its_model_knows_the_statistics_of_the_paintings(
    photos: Path, paintings: Path, tmp_path: Path
):
    config = tiny_any_config(paintings, steps=4, checkpoint_every=2)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert run(config, job(photos, workdir=whole, styles={})) in (0, 1)  # it may well get worse in 4 steps
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoints" / "4")
    (resumed / "model.safetensors").unlink()
    assert run(config, job(photos, workdir=resumed, styles={})) in (0, 1)
    assert curve(resumed) == curve(whole)
    jax.tree.map(np.testing.assert_array_equal, state_of(resumed, 4), state_of(whole, 4))
    tensors = [read_tensors(folder / "model.safetensors") for folder in (whole, resumed)]
    jax.tree.map(np.testing.assert_array_equal, *tensors)
    model = load_feedforward(str(whole))
    assert (model.for_any_painting, model.regions) == (True, ())
    assert model.network.predictor.spread[...].shape == (MOMENTS,)
    assert float(np.abs(tensors[0]["predictor.center"]).max()) > 0.1
    styles = {"cat": str(photos / "a.png"), "background": str(photos / "b.png")}
    table = open_model(str(whole), styles, np.float32).network.table[...]
    assert float(np.abs(table[0] - table[1]).max()) > 0


def test_the_statistics_are_those_of_the_views_and_of_the_network_that_models_see_paintings_with(
    paintings: Path, task: Task
):
    """Whatever network, depth and precision the losses have."""
    moments = task.frozen["bank"].moments
    assert moments.shape == (5, MOMENTS)
    state = task.frozen["statistics"]
    for found, expected in zip(
        (state["predictor"]["center"], state["predictor"]["spread"]), standardization(moments), strict=True
    ):
        np.testing.assert_array_equal(found[...], expected)
    assert {*load_predictor_vgg().taps} > {"relu4_1"}
    narrow = task_of(tiny_any_config(paintings, precision="bfloat16"))
    np.testing.assert_array_equal(narrow.frozen["bank"].moments, moments)


def test_a_run_can_start_from_a_model_for_any_painting_and_keeps_its_statistics(paintings: Path, any_model: Path):
    trained = read_tensors(any_model / "model.safetensors")
    task = task_of(tiny_any_config(paintings, start=str(any_model)))
    predictor, bias = task.frozen["statistics"]["predictor"], task.init(jax.random.key(0))["transfer"]["bias"]
    np.testing.assert_array_equal(predictor["center"][...], trained["predictor.center"])
    np.testing.assert_array_equal(predictor["spread"][...], trained["predictor.spread"])
    np.testing.assert_array_equal(bias[...], trained["transfer.bias"])


def files_of(folder: Path, **changes: Any) -> Mapping[str, Any]:
    return load_task_spec(build_any_stylizer_options(tiny_any_config(folder, **changes)), {}).files


def test_a_folder_of_paintings_that_counts_twice_makes_another_run(paintings: Path, tmp_path: Path):
    other = shutil.copytree(paintings, tmp_path / "other")
    once, twice = (
        files_of(paintings, paintings=each) for each in ((str(paintings), str(other)), (str(paintings),) * 2)
    )
    thrice = files_of(paintings, paintings=(str(paintings), str(paintings), str(other)))
    assert once["paintings"] != thrice["paintings"] != twice["paintings"]


def test_a_run_knows_the_model_it_started_from_by_its_content_also_where_it_is_built_in(
    paintings: Path, any_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    first = any_model / "model.safetensors"
    second = tmp_path / "model.safetensors"
    second.write_bytes(first.read_bytes() + b" ")
    found = []
    for path in (first, second):
        monkeypatch.setattr(feedforward_model, "BUILTIN_FILES", {"any": path})
        monkeypatch.setattr(any_stylizer, "load_initial_params", lambda options: {})
        found.append(files_of(paintings, start="any")["start"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("changes", "styles", "message"),
    [
        ({}, {"person": "a.png"}, r"^--style person=FILE has no effect: .*config.paintings; leave it out$"),
        ({"paintings": ()}, {}, r"^config.paintings is empty; give folders"),
        ({"start": "fixed"}, {}, r"^config.start .* has styles of its own; give a model for any painting$"),
        ({"start": "any", "width": 8}, {}, r"a network of another shape .*; give --config.width=4$"),
        ({"start": "nowhere"}, {}, r"^config.start nowhere: .* does not exist; give a --workdir of train.py, or "),
    ],
    ids=["style", "no paintings", "fixed styles", "shape", "nowhere"],
)
def test_what_does_not_fit_is_one_line(
    paintings: Path,
    model: Path,
    any_model: Path,
    changes: dict[str, Any],
    styles: Mapping[str, str],
    message: str,
):
    places = {"fixed": str(model), "any": str(any_model)}
    if "start" in changes:
        changes = {**changes, "start": places.get(changes["start"], changes["start"])}
    with pytest.raises(UserError, match=message):
        load_task_spec(build_any_stylizer_options(tiny_any_config(paintings, **changes)), styles)


# --- what is drawn for a photo
def test_most_styles_are_of_one_painting_and_some_photos_are_whole():
    drawn = [draw_styles(np.random.default_rng(seed), views=7, regions=2) for seed in range(400)]
    views, shares, whole = (np.stack([each[name] for each in drawn]) for name in ("views", "shares", "whole"))
    assert {*views.flat} == set(range(7))
    assert 0.6 < (shares == 1).mean() < 0.8
    assert shares.min() >= 0
    assert 0.15 < whole.mean() < 0.35


def test_a_photo_that_is_whole_is_one_region():
    batch = {**random_batch(2, 16), "whole": np.array([True, False])}
    photos, masks = photos_and_masks(batch)
    assert photos.dtype == np.float32
    np.testing.assert_array_equal(masks[0], np.broadcast_to([1, 0], (16, 16, 2)))
    np.testing.assert_array_equal(masks[1], batch["masks"][1])


def test_a_style_of_two_views_is_their_mean_by_shares():
    values = np.arange(24, dtype=np.float32).reshape(4, 2, 3) ** 2
    batch = {"views": np.array([[[0, 3], [2, 1]]]), "shares": np.array([[0.25, 1.0]], np.float32)}
    mixed = mix_views(jax.numpy.asarray(values), batch)
    np.testing.assert_allclose(mixed, [[0.25 * values[0] + 0.75 * values[3], values[2]]], rtol=1e-6)
