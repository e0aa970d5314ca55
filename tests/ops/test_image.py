"""Normalization and resizing equal torch's, and compositing by hard masks selects pixels."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.ops.image import composite, halve, normalize, resize, upsample
from reference import original, stylizer
from reference.loss_formulas import uniform
from reference.torchvision_compat import torchvision
from tests.helpers.compilation import compiled_in_full


def test_normalize_equals_torchvision():
    image = np.random.default_rng(0).random((5, 7, 3), np.float32)
    transform = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = transform(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(normalize(jnp.asarray(image)), expected, atol=1e-6)


def test_normalize_equals_the_pytorch_reference() -> None:
    image = uniform(2, 5, 6, 3)
    theirs = original.normalize(original.to_tensor(image))
    np.testing.assert_allclose(normalize(jnp.asarray(image)), original.to_array(theirs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 20), (47, 90), (33, 64), (13, 70)])
def test_resize_equals_torch(size: tuple[int, int]):
    image = np.random.default_rng(0).random((2, 33, 40, 3), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False, antialias=True
    )
    with compiled_in_full():  # the weights of both are rounded in float32, equally only then
        resized = resize(jnp.asarray(image), *size)
    np.testing.assert_allclose(resized, expected.permute(0, 2, 3, 1).numpy(), atol=1e-6)


def test_halving_equals_torch() -> None:
    images = uniform(2, 6, 10, 3)
    expected = torch.nn.functional.avg_pool2d(original.to_tensor(images), 2)
    np.testing.assert_allclose(halve(jnp.asarray(images)), original.to_array(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (1, 4)])
def test_upsampling_equals_a_transposed_convolution_of_torch_up_to_the_border(size: tuple[int, int]) -> None:
    images = uniform(2, *size, 3)
    expected = stylizer.upsample(original.to_tensor(images))
    np.testing.assert_allclose(upsample(jnp.asarray(images)), original.to_array(expected), rtol=0, atol=1e-6)


def test_composite_by_hard_masks_takes_each_pixel_from_its_region() -> None:
    images = uniform(2, 4, 6, 3)
    mask = (uniform(4, 6) > 0.5).astype(np.float32)
    result = composite(jnp.asarray(images), jnp.asarray(np.stack([mask, 1 - mask], -1)))
    np.testing.assert_array_equal(result, np.where(mask[..., None] == 1, images[0], images[1]))
