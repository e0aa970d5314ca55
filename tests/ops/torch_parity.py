"""Comparison of convolutions and their gradients with torch, shared by several test files."""

from typing import Any

import jax
import numpy as np
import torch

from reference.original import to_tensor
from reference.stylizer import to_torch


def relative_error(ours: Any, theirs: torch.Tensor) -> float:
    """Largest absolute error, relative to the largest magnitude of `theirs`; the shapes must be equal."""
    expected = theirs.detach().numpy()
    assert np.shape(ours) == expected.shape
    return float(np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max())


def assert_convolution_equals_torch(ours: Any, theirs: Any, x: np.ndarray, kernel: np.ndarray) -> None:
    """Compares values, and gradients for a random cotangent."""
    images = to_tensor(x).requires_grad_()
    weights = to_torch("kernel", kernel).requires_grad_()
    expected = theirs(images, weights)
    value, vjp = jax.vjp(jax.jit(ours), x, kernel)
    cotangent = np.random.default_rng(1).normal(size=value.shape).astype(np.float32)
    expected.backward(to_tensor(cotangent))
    assert images.grad is not None
    assert weights.grad is not None
    images_grad, kernel_grad = vjp(cotangent)
    assert relative_error(value, expected.movedim(1, -1)) <= 1e-5
    assert relative_error(images_grad, images.grad.movedim(1, -1)) <= 1e-5
    assert relative_error(kernel_grad, weights.grad.permute(2, 3, 1, 0)) <= 1e-5
