"""The convolutions for training and their gradients equal torch's conv2d, in every form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.ops.convolution_vjp import padded_convolution, valid_convolution
from tests.ops.torch_parity import assert_convolution_equals_torch


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


@pytest.mark.parametrize("inputs", [3, 5])
@pytest.mark.parametrize("border", [0, 1])
def test_padded_convolution_and_its_gradients_equal_torch(border: int, inputs: int) -> None:
    rng = np.random.default_rng(border)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((2, 7, 10, inputs), (3, 3, inputs, 6)))
    theirs = partial(torch.nn.functional.conv2d, padding=border)
    assert_convolution_equals_torch(lambda x, kernel: padded_convolution(x, kernel, border), theirs, x, kernel)


def test_a_gradient_in_a_loop_is_a_convolution_of_the_form_that_is_fast_there() -> None:
    """XLA on CPU brings the kernels of others in order outside of loops only, and takes six times as long in one."""
    x, kernel = jnp.ones((1, 8, 8, 5)), jnp.ones((3, 3, 5, 5))

    def descend(_turn: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return x - jax.grad(lambda x: jnp.square(padded_convolution(x, kernel, 1)).sum())(x)

    loop = jax.jit(lambda x, kernel: jax.lax.fori_loop(0, 3, partial(descend, kernel=kernel), x))
    lines = loop.lower(x, kernel).compile().as_text().splitlines()
    forms = {line.split("dim_labels=")[1].split(",")[0] for line in lines if "dim_labels=" in line}
    assert forms == {"b01f_01io->b01f"}
