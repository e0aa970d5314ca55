"""Nearest-neighbor upsampling, alone and fused with a convolution, equals torch's, gradients included."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.ops.upsample_convolution import upsample_convolution, upsample_nearest
from reference.loss_formulas import uniform
from reference.original import to_array, to_tensor
from tests.ops.torch_parity import assert_convolution_equals_torch


def test_upsample_nearest_equals_torch() -> None:
    x = uniform(2, 3, 4, 5)
    expected = torch.nn.functional.interpolate(to_tensor(x), scale_factor=2, mode="nearest")
    np.testing.assert_array_equal(upsample_nearest(jnp.asarray(x)), to_array(expected))


@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 1, 3)])
def test_upsample_convolution_and_its_gradients_equal_torch(shape: tuple[int, ...]) -> None:
    def theirs(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        images = torch.nn.functional.interpolate(images, scale_factor=2, mode="nearest")
        return torch.nn.functional.conv2d(torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), weights)

    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((*shape, 5), (3, 3, 5, 6)))
    assert_convolution_equals_torch(upsample_convolution, theirs, x, kernel)
