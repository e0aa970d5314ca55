"""The fast model equals its PyTorch twin: the network, the training loss and every gradient of it."""

from functools import partial
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
from msst_jax.ops.convolution_vjp import picture_convolution, valid_convolution
from msst_jax.ops.image import normalize
from msst_jax.ops.upsample_convolution import upsample_convolution, upsample_nearest
from reference import original
from reference.loss_formulas import uniform
from reference.original import to_tensor
from reference.stylizer import TorchStylizer, build_twin, to_torch, torch_name
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


@pytest.fixture(scope="module")
def network() -> Stylizer:
    return random_stylizer()


@pytest.fixture(scope="module")
def twin(network: Stylizer) -> TorchStylizer:
    return build_twin(state_to_tensors(nnx.state(network)))


def relative_error(ours: Any, theirs: torch.Tensor) -> float:
    expected = theirs.detach().numpy()
    assert np.shape(ours) == expected.shape
    return float(np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max())


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


def test_instance_norm_keeps_its_precision_on_a_large_mean() -> None:
    """E[x^2] - E[x]^2 would lose everything here."""
    x = 1e3 + uniform(2, 9, 8, 5)
    scale, shift = uniform(2, 5, seed=1), uniform(2, 5, seed=2)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((1, 2), keepdims=True)) / np.sqrt(exact.var((1, 2), keepdims=True) + 1e-5)
    exact = exact * scale[:, None, None] + shift[:, None, None]
    ours = jax.jit(instance_norm)(x, scale, shift)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-3)


def test_doubling_equals_torch() -> None:
    x = uniform(2, 3, 4, 5)
    expected = torch.nn.functional.interpolate(to_tensor(x), scale_factor=2, mode="nearest")
    np.testing.assert_array_equal(upsample_nearest(jnp.asarray(x)), original.to_array(expected))


# --- the convolutions, in all the forms of convolutions.py
def assert_convolution_equals_torch(ours: Any, theirs: Any, x: np.ndarray, kernel: np.ndarray) -> None:
    """Values, and gradients for a random cotangent."""
    images = to_tensor(x).requires_grad_()
    weights = to_torch("kernel", kernel).requires_grad_()
    expected = theirs(images, weights)
    value, pull = jax.vjp(jax.jit(ours), x, kernel)
    cotangent = np.random.default_rng(1).normal(size=value.shape).astype(np.float32)
    expected.backward(to_tensor(cotangent))
    assert images.grad is not None
    assert weights.grad is not None
    of_images, of_kernel = pull(cotangent)
    assert relative_error(value, expected.movedim(1, -1)) <= 1e-5
    assert relative_error(of_images, images.grad.movedim(1, -1)) <= 1e-5
    assert relative_error(of_kernel, weights.grad.permute(2, 3, 1, 0)) <= 1e-5


@pytest.mark.parametrize(
    ("size", "stride", "inputs", "outputs"),
    [(3, 1, 5, 6), (3, 2, 5, 6), (9, 1, 5, 6), (9, 1, 3, 6), (9, 1, 6, 3), (9, 2, 3, 6), (2, 1, 5, 6)],
)
@pytest.mark.parametrize("shape", [(3, 22, 16), (2, 19, 24)])
def test_valid_convolution_and_its_gradients_equal_torch(
    size: int, stride: int, inputs: int, outputs: int, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(size)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((*shape, inputs), (size, size, inputs, outputs)))
    theirs = partial(torch.nn.functional.conv2d, stride=stride)
    assert_convolution_equals_torch(partial(valid_convolution, stride=stride), theirs, x, kernel)


@pytest.mark.parametrize("border", [0, 1])
def test_convolution_of_pictures_equals_torch(border: int) -> None:
    rng = np.random.default_rng(border)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((2, 7, 10, 3), (3, 3, 3, 6)))
    theirs = partial(torch.nn.functional.conv2d, padding=border)
    assert_convolution_equals_torch(lambda x, kernel: picture_convolution(x, kernel, border), theirs, x, kernel)


@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 1, 3)])
def test_convolution_of_a_doubled_picture_equals_torch(shape: tuple[int, ...]) -> None:
    def theirs(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        images = torch.nn.functional.interpolate(images, scale_factor=2, mode="nearest")
        return torch.nn.functional.conv2d(torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), weights)

    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((*shape, 5), (3, 3, 5, 6)))
    assert_convolution_equals_torch(upsample_convolution, theirs, x, kernel)


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
    found, expected = our_training(vgg, training), torch_training(training)
    assert found.loss == pytest.approx(expected.loss, rel=LOSS_TOLERANCE)
    assert sum(found.terms.values()) == pytest.approx(found.loss, rel=1e-5)
    assert set(found.gradients) == set(expected.gradients) == set(map(torch_name, parameter_shapes(training.network)))
    errors = gradient_errors(found.gradients, expected.gradients)
    worst = max(errors, key=errors.__getitem__)
    print(f"loss {abs(found.loss / expected.loss - 1):.1e}; worst gradient {worst}: {errors[worst]:.1e}")
    assert errors[worst] <= GRADIENT_TOLERANCE


# --- properties
@pytest.mark.parametrize("size", [(16, 16), (18, 41)])
def test_pictures_keep_their_size_and_stay_in_range(network: Stylizer, size: tuple[int, int]) -> None:
    pixels = stylised(network, 20 * uniform(1, *size, 3) - 10)
    assert pixels.shape == (1, STYLES, *size, 3)
    assert pixels.dtype == jnp.float32
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1


def test_every_photo_of_a_batch_is_stylised_by_itself(network: Stylizer) -> None:
    images = uniform(3, 20, 24, 3)
    batch = stylised(network, images)
    for index in range(3):
        np.testing.assert_allclose(batch[index], stylised(network, images[index : index + 1])[0], atol=1e-5)


@pytest.mark.parametrize("styles", [1, 2, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_blend_mixtures_are_shares(styles: int, ratio: float) -> None:
    mixtures = np.asarray(blend_mixtures(styles, ratio))
    np.testing.assert_allclose(mixtures.sum(1), 1, rtol=1e-6)
    others = mixtures[~np.eye(styles, dtype=bool)]
    np.testing.assert_allclose(others, ratio * mixtures[0, 0], rtol=1e-6)


def test_blend_ratio_0_is_every_style_by_itself(network: Stylizer) -> None:
    images = uniform(2, 16, 20, 3)
    np.testing.assert_array_equal(stylised(network, images), stylised(network, images, blend_mixtures(STYLES, 0.0)))


def test_bfloat16_is_near_and_comes_out_as_float32(network: Stylizer) -> None:
    rough = Stylizer(STYLES, width=WIDTH, blocks=BLOCKS, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    nnx.update(rough, nnx.state(network))
    images = uniform(1, 24, 24, 3)
    ours = stylised(rough, images)
    assert ours.dtype == jnp.float32
    assert 0 < float(jnp.abs(ours - stylised(network, images)).mean()) <= 0.03
