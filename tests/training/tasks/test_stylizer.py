"""Fine-tuning: the weights of a trained model are where a run starts, and what does not fit is one line."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from msst_jax.configs import fast
from msst_jax.errors import UserError
from msst_jax.models.architecture import abstract_architecture, rearrange_styles, style_axes
from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.models.serialization import parameter_shapes, state_to_tensors
from msst_jax.registry import ARCHITECTURE
from msst_jax.training.build import build_stylizer_options
from msst_jax.training.tasks.stylizer import load_initial_params, load_task_spec
from msst_jax.transfer.fast_model import open_model
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import tiny_config

TRAINING = {"width": 4, "blocks": 1}


def initial(start: Path | str, *regions: str, **changes) -> dict[str, np.ndarray]:
    config = tiny_config(start=str(start), **{**TRAINING, **changes})
    return load_initial_params(build_stylizer_options(config), dict.fromkeys(regions, ""))


def test_the_styles_of_a_network_are_its_only_parameters_that_grow_with_them():
    assert style_axes(ARCHITECTURE, 2, TRAINING) == style_axes(ARCHITECTURE, 1, TRAINING) == {"table": 0}
    assert "table" in parameter_shapes(abstract_architecture(ARCHITECTURE, 1, TRAINING))


def test_a_run_starts_from_the_styles_of_the_same_regions(model: Path):
    trained = state_to_tensors(nnx.state(load_feedforward(str(model)).network))
    same = initial(model, "person", "background")
    jax.tree.map(np.testing.assert_array_equal, same, trained)
    swapped = initial(model, "background", "person")
    axes = style_axes(ARCHITECTURE, 2, TRAINING)
    for path, tensor in trained.items():
        np.testing.assert_array_equal(swapped[path], tensor[::-1] if path in axes else tensor)


def test_a_new_region_starts_from_the_mean_of_the_styles(model: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    trained = state_to_tensors(nnx.state(load_feedforward(str(model)).network))
    found = initial(model, "dog", "person", "background")
    shapes = parameter_shapes(abstract_architecture(ARCHITECTURE, 3, TRAINING))
    assert {path: tensor.shape for path, tensor in found.items()} == shapes
    path = next(iter(style_axes(ARCHITECTURE, 2, TRAINING)))
    np.testing.assert_allclose(found[path][0], trained[path].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(found[path][1:], trained[path])
    assert caplog.messages == [f"regions dog are new to {model}: they start from the mean of its styles"]


def test_a_run_starts_from_what_a_model_for_any_painting_makes_of_its_paintings(any_model: Path, tmp_path: Path):
    files = {
        name: save(tmp_path / f"{name}.png", noise(40, 52, seed)) for seed, name in enumerate(("cat", "background"))
    }
    config = tiny_config(start=str(any_model), **TRAINING)
    expected = state_to_tensors(nnx.state(open_model(str(any_model), files, np.float32).network))
    assert np.abs(expected["table"][0] - expected["table"][1]).max() > 0.01
    batch = {"photo": np.zeros((1, 32, 32, 3), np.uint8), "masks": np.full((1, 32, 32, 2), 0.5, np.float32)}
    task = load_task_spec(build_stylizer_options(config), files).build(batch)
    jax.tree.map(np.testing.assert_array_equal, state_to_tensors(task.init(jax.random.key(0))), expected)


def test_slices_of_styles_are_taken_along_their_own_axis():
    tensor = np.arange(6.0).reshape(2, 3)
    found = rearrange_styles({"a": tensor, "b": tensor}, {"a": 1}, [2, None])
    np.testing.assert_array_equal(found["a"], [[2, 1], [5, 4]])
    assert found["b"] is tensor


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        ("model", {"width": 8}, r"is a network of another shape than that of the run; give --config.width=4$"),
        (
            "builtin",
            {},
            r"^config.start builtin is a network of another shape .*; give --config.width=\d+ --con",
        ),
        (
            "nowhere",
            {},
            r"nowhere does not exist; give a --workdir .* or builtin, any, .* or starry_wheat; one of your own needs",
        ),
    ],
)
def test_a_start_that_does_not_fit_says_what_to_give(model: Path, start: str, changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        initial(model if start == "model" else start, "person", "background", **changes)


def test_region_weights_of_another_number_than_the_styles_are_refused_before_any_file_is_read() -> None:
    options = dataclasses.replace(build_stylizer_options(fast.get_config()), region_weights=(1.0, 2.0, 3.0))
    styles = {"person": "nowhere.jpg", "background": "nowhere.jpg"}
    with pytest.raises(UserError, match=r"^config.region_weights has 3 factors for 2 styles; give one "):
        load_task_spec(options, styles)
