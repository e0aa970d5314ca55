"""Pooling and its gradient equal torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.ops.pooling import average_pool
from reference.loss_formulas import max_pooling, value_and_gradient_of_ours, value_and_gradient_of_torch
from reference.original import to_array, to_tensor


@pytest.mark.parametrize("shape", [(2, 8, 8, 5), (1, 7, 9, 4), (1, 2, 3, 1)])
def test_max_pool_and_its_gradient_equal_torch_with_ties(shape: tuple[int, ...]) -> None:
    pooling = max_pooling(shape)
    ours, theirs = value_and_gradient_of_ours(pooling), value_and_gradient_of_torch(pooling)
    for part in ("value", "gradient"):
        np.testing.assert_array_equal(ours[part], theirs[part], err_msg=part)


@pytest.mark.parametrize("shape", [(2, 8, 8, 5), (1, 7, 9, 4)])
def test_average_pool_and_its_gradient_equal_torch(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    theirs_in = to_tensor(x).requires_grad_()
    theirs = torch.nn.functional.avg_pool2d(theirs_in, 2)
    ours, vjp = jax.vjp(average_pool, jnp.asarray(x))
    theirs.sum().backward()
    np.testing.assert_allclose(ours, to_array(theirs), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(vjp(jnp.ones_like(ours))[0], to_array(theirs_in.grad))
