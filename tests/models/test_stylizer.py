"""The feed-forward stylizer equals its PyTorch twin: pictures, training loss and all its gradients."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from msst_jax.models.serialization import parameter_shapes, state_to_tensors
from msst_jax.models.stylizer import Stylizer, blend_mixtures, split_vectors
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
    random_masks,
    random_stylizer,
    stylised,
    torch_training,
    training_case,
)
from tests.ops.torch_parity import relative_error

SIZE = (18, 23)


@pytest.fixture(scope="module")
def network() -> Stylizer:
    return random_stylizer()


@pytest.fixture(scope="module")
def twin(network: Stylizer) -> TorchStylizer:
    return build_twin(state_to_tensors(nnx.state(network)))


def random_images(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.asarray(normalize(jnp.asarray(uniform(count, *size, 3))))


# --- the network
@pytest.mark.parametrize(("regions", "size"), [(3, (64, 64)), (3, (50, 75)), (2, (33, 47)), (1, (16, 17))])
def test_forward_equals_torch(regions: int, size: tuple[int, int]) -> None:
    network, images, masks = random_stylizer(regions), random_images(2, size), random_masks(2, regions, size)
    expected = build_twin(state_to_tensors(nnx.state(network)))(to_tensor(images), to_tensor(masks)).movedim(1, -1)
    assert expected.shape == (2, *size, 3)
    error = relative_error(stylised(network, images, masks), expected)
    print(f"forward {size}: {error:.1e}")
    assert error <= IMAGE_TOLERANCE


@pytest.mark.parametrize(
    "mixtures",
    [
        blend_mixtures(STYLES, 0.2),
        np.float32([[0.2, 0.3, 0.5]]),
        np.float32(np.eye(3)[[2, 0]]),
        np.stack([blend_mixtures(STYLES, ratio) for ratio in (0.0, 0.5)]),
    ],
    ids=["blend", "one region", "two of three", "each photo its own"],
)
def test_mixtures_of_styles_equal_torch(network: Stylizer, twin: TorchStylizer, mixtures: Any) -> None:
    mixtures = np.asarray(mixtures)
    images, masks = random_images(2), random_masks(2, mixtures.shape[-2], SIZE)
    expected = twin(to_tensor(images), to_tensor(masks), torch.tensor(mixtures)).movedim(1, -1)
    assert relative_error(stylised(network, images, masks, mixtures), expected) <= IMAGE_TOLERANCE


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
def test_pictures_have_the_size_of_the_images_and_lie_in_0_to_1(network: Stylizer, size: tuple[int, int]) -> None:
    pixels = stylised(network, 20 * uniform(1, *size, 3) - 10, random_masks(1, STYLES, size))
    assert pixels.shape == (1, *size, 3)
    assert pixels.dtype == jnp.float32
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1


def test_images_of_a_batch_do_not_affect_each_other(network: Stylizer) -> None:
    images, masks = uniform(3, *SIZE, 3), random_masks(3, STYLES, SIZE)
    batch = stylised(network, images, masks)
    for index in range(3):
        alone = stylised(network, images[index : index + 1], masks[index : index + 1])[0]
        np.testing.assert_allclose(batch[index], alone, atol=1e-5)


def test_the_number_and_the_order_of_the_regions_change_nothing_and_an_empty_one_has_no_style(
    network: Stylizer,
) -> None:
    """A photo without a person is painted in the style of the background, whatever the person's is."""
    images, two = uniform(1, *SIZE, 3), random_masks(1, 2, SIZE)
    alone = stylised(network, images, two, np.float32(np.eye(3)[:2]))
    masks = np.concatenate([two[..., :1], np.zeros_like(two[..., :1]), two[..., 1:]], -1)
    for last in (2, 0):
        with_empty = stylised(network, images, masks, np.float32(np.eye(3)[[0, last, 1]]))
        np.testing.assert_allclose(with_empty, alone, atol=1e-5)
    order = [2, 0, 1]
    turned = stylised(network, images, masks[..., order], np.float32(np.eye(3)[[0, 2, 1]][order]))
    np.testing.assert_allclose(turned, alone, atol=1e-5)


def test_regions_of_one_style_differ_from_those_of_two(network: Stylizer) -> None:
    images, masks = uniform(1, *SIZE, 3), np.zeros((1, *SIZE, 2), np.float32)
    masks[:, :, :12, 0], masks[:, :, 12:, 1] = 1, 1
    one, two = (stylised(network, images, masks, np.float32(np.eye(3)[styles])) for styles in ([0, 0], [0, 1]))
    assert float(jnp.abs(one - two)[:, :, 12:].mean()) > 0.05


@pytest.mark.parametrize("styles", [1, 2, 5])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_blend_mixtures_sum_to_1_in_the_given_ratio(styles: int, ratio: float) -> None:
    mixtures = np.asarray(blend_mixtures(styles, ratio))
    np.testing.assert_allclose(mixtures.sum(1), 1, rtol=1e-6)
    others = mixtures[~np.eye(styles, dtype=bool)]
    np.testing.assert_allclose(others, ratio * mixtures[0, 0], rtol=1e-6)


def test_blend_ratio_0_is_every_style_by_itself(network: Stylizer) -> None:
    images, masks = uniform(2, *SIZE, 3), random_masks(2, STYLES, SIZE)
    np.testing.assert_array_equal(
        stylised(network, images, masks), stylised(network, images, masks, blend_mixtures(STYLES, 0.0))
    )


def test_a_vector_has_a_part_for_every_styled_convolution(network: Stylizer) -> None:
    channels = network.transfer.styled_channels
    assert channels == (*[4 * WIDTH] * (2 * BLOCKS), 2 * WIDTH, WIDTH)
    parts = split_vectors(jnp.arange(network.transfer.vector_size)[None], channels)
    assert [part.shape for part in parts] == [(1, 2 * count) for count in channels]
    np.testing.assert_array_equal(jnp.concatenate(parts, -1)[0], np.arange(network.transfer.vector_size))


def test_bfloat16_stays_close_and_outputs_float32(network: Stylizer) -> None:
    bfloat16 = Stylizer(STYLES, width=WIDTH, blocks=BLOCKS, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    nnx.update(bfloat16, nnx.state(network))
    images, masks = uniform(1, *SIZE, 3), random_masks(1, STYLES, SIZE)
    ours = stylised(bfloat16, images, masks)
    assert ours.dtype == jnp.float32
    assert 0 < float(jnp.abs(ours - stylised(network, images, masks)).mean()) <= 0.03
