"""The feed-forward stylizer equals its PyTorch twin: outputs, training loss and all its gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from msst_jax.models.serialization import parameter_shapes, state_to_tensors
from msst_jax.models.stylizer import Stylizer, blend_mixtures, instance_norm
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from reference.loss_formulas import uniform
from reference.original import to_tensor
from reference.stylizer import TorchStylizer, build_twin, torch_name
from reference.stylizer_cases import (
    BATCHES,
    BLOCKS,
    GRADIENT_TOLERANCE,
    IMAGE_TOLERANCE,
    LOSS_TOLERANCE,
    SEEDS,
    STYLES,
    WIDTH,
    gradient_errors,
    load_network,
    our_training,
    random_stylizer,
    stylised,
    torch_training,
    training_case,
)
from tests.ops.torch_parity import relative_error


@pytest.fixture(scope="module")
def network() -> Stylizer:
    return random_stylizer()


@pytest.fixture(scope="module")
def twin(network: Stylizer) -> TorchStylizer:
    return build_twin(state_to_tensors(nnx.state(network)))


# --- the network
@pytest.mark.parametrize("size", [(64, 64), (50, 75), (33, 47), (16, 17)])
def test_forward_equals_torch(network: Stylizer, twin: TorchStylizer, size: tuple[int, int]) -> None:
    images = np.asarray(normalize(jnp.asarray(uniform(2, *size, 3))))
    expected = twin(to_tensor(images)).movedim(2, -1)
    assert expected.shape == (2, STYLES, *size, 3)
    error = relative_error(stylised(network, images), expected)
    print(f"forward {size}: {error:.1e}")
    assert error <= IMAGE_TOLERANCE


@pytest.mark.parametrize(
    "mixtures", [blend_mixtures(STYLES, 0.2), np.float32([[0.2, 0.3, 0.5]]), np.float32(np.eye(3)[[2, 0]])]
)
def test_mixtures_of_styles_equal_torch(network: Stylizer, twin: TorchStylizer, mixtures: Any) -> None:
    images = np.asarray(normalize(jnp.asarray(uniform(2, 30, 23, 3))))
    expected = twin(to_tensor(images), torch.tensor(np.asarray(mixtures))).movedim(2, -1)
    assert expected.shape[1] == len(mixtures)
    assert relative_error(stylised(network, images, jnp.asarray(mixtures)), expected) <= IMAGE_TOLERANCE


def test_instance_norm_is_precise_for_a_large_mean() -> None:
    """E[x^2] - E[x]^2 would cancel catastrophically here."""
    x = 1e3 + uniform(2, 9, 8, 5)
    scale, shift = uniform(2, 5, seed=1), uniform(2, 5, seed=2)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((1, 2), keepdims=True)) / np.sqrt(exact.var((1, 2), keepdims=True) + 1e-5)
    exact = exact * scale[:, None, None] + shift[:, None, None]
    ours = jax.jit(instance_norm)(x, scale, shift)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-3)


# --- the training loss
@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_network()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("photos", "styles", "size"), BATCHES)
def test_training_loss_and_every_gradient_equal_torch(
    vgg: VGG, photos: int, styles: int, size: tuple[int, int], seed: int
) -> None:
    training = training_case(photos, styles, size, seed)
    ours, expected = our_training(vgg, training), torch_training(training)
    assert ours.loss == pytest.approx(expected.loss, rel=LOSS_TOLERANCE)
    assert sum(ours.terms.values()) == pytest.approx(ours.loss, rel=1e-5)
    assert set(ours.gradients) == set(expected.gradients) == set(map(torch_name, parameter_shapes(training.network)))
    errors = gradient_errors(ours.gradients, expected.gradients)
    worst = max(errors, key=errors.__getitem__)
    print(f"loss {abs(ours.loss / expected.loss - 1):.1e}; worst gradient {worst}: {errors[worst]:.1e}")
    assert errors[worst] <= GRADIENT_TOLERANCE


# --- properties
@pytest.mark.parametrize("size", [(16, 16), (18, 41)])
def test_outputs_keep_the_size_of_the_images_and_lie_in_0_to_1(network: Stylizer, size: tuple[int, int]) -> None:
    pixels = stylised(network, 20 * uniform(1, *size, 3) - 10)
    assert pixels.shape == (1, STYLES, *size, 3)
    assert pixels.dtype == jnp.float32
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1


def test_images_of_a_batch_do_not_affect_each_other(network: Stylizer) -> None:
    images = uniform(3, 20, 24, 3)
    batch = stylised(network, images)
    for index in range(3):
        np.testing.assert_allclose(batch[index], stylised(network, images[index : index + 1])[0], atol=1e-5)


@pytest.mark.parametrize("styles", [1, 2, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_blend_mixtures_sum_to_1_in_the_given_ratio(styles: int, ratio: float) -> None:
    mixtures = np.asarray(blend_mixtures(styles, ratio))
    np.testing.assert_allclose(mixtures.sum(1), 1, rtol=1e-6)
    others = mixtures[~np.eye(styles, dtype=bool)]
    np.testing.assert_allclose(others, ratio * mixtures[0, 0], rtol=1e-6)


def test_blend_ratio_0_is_every_style_by_itself(network: Stylizer) -> None:
    images = uniform(2, 16, 20, 3)
    np.testing.assert_array_equal(stylised(network, images), stylised(network, images, blend_mixtures(STYLES, 0.0)))


def test_bfloat16_stays_close_and_outputs_float32(network: Stylizer) -> None:
    bfloat16 = Stylizer(STYLES, width=WIDTH, blocks=BLOCKS, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    nnx.update(bfloat16, nnx.state(network))
    images = uniform(1, 24, 24, 3)
    ours = stylised(bfloat16, images)
    assert ours.dtype == jnp.float32
    assert 0 < float(jnp.abs(ours - stylised(network, images)).mean()) <= 0.03
