"""Every form of `convolve` and its gradients equal torch's conv2d."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.ops.convolution import convolve
from tests.ops.torch_parity import assert_convolution_equals_torch


@pytest.mark.parametrize(
    ("shape", "size", "outputs", "stride", "dilation", "depthwise"),
    [
        ((2, 9, 7, 5), 1, 4, 1, 1, False),
        ((1, 9, 8, 5), 1, 4, 2, 1, False),
        ((1, 1, 1, 6), 1, 4, 1, 1, False),
        ((1, 30, 21, 4), 3, 6, 1, 12, False),  # taps inside, taps outside
        ((2, 9, 40, 4), 3, 6, 1, 36, False),  # the middle row of taps only
        ((1, 9, 9, 4), 3, 6, 1, 24, False),  # the middle tap only
        ((1, 11, 12, 4), 3, 6, 1, 4, False),
        ((1, 11, 12, 3), 7, 6, 2, 1, False),
        ((2, 11, 12, 6), 3, 6, 1, 1, True),
        ((1, 11, 12, 6), 5, 6, 2, 1, True),
        ((1, 11, 12, 6), 5, 6, 1, 2, True),
        ((1, 2, 1, 6), 5, 6, 2, 2, True),
    ],
)
def test_every_form_of_convolution_and_its_gradients_equal_torch(
    shape: tuple[int, ...], size: int, outputs: int, stride: int, dilation: int, depthwise: bool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    kernel = rng.standard_normal((size, size, 1 if depthwise else shape[-1], outputs), np.float32)
    ours, vjp = jax.vjp(lambda x, kernel: convolve(x, kernel, stride=stride, dilation=dilation), x, kernel)
    theirs_x = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    theirs_kernel = torch.tensor(kernel).permute(3, 2, 0, 1).requires_grad_()
    options = {"padding": size // 2 * dilation, "groups": shape[-1] if depthwise else 1}
    theirs = torch.nn.functional.conv2d(theirs_x, theirs_kernel, stride=stride, dilation=dilation, **options)
    cotangent = rng.standard_normal(ours.shape).astype(np.float32)
    theirs.backward(torch.tensor(cotangent).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, theirs.detach().permute(0, 2, 3, 1), rtol=0, atol=2e-5)
    grad_x, grad_kernel = vjp(jnp.asarray(cotangent))
    np.testing.assert_allclose(grad_x, theirs_x.grad.permute(0, 2, 3, 1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(grad_kernel, theirs_kernel.grad.permute(2, 3, 1, 0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "size", "stride", "dilation", "before", "after"),
    [
        (8, 3, 2, 1, 0, 1),
        (9, 3, 2, 1, 1, 1),
        (8, 5, 2, 1, 1, 2),
        (9, 5, 2, 1, 2, 2),
        (11, 5, 1, 2, 4, 4),
        (2, 1, 2, 1, 0, 0),
    ],
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_same_padding_and_its_gradients_are_tensorflows(
    side: int, size: int, stride: int, dilation: int, before: int, after: int, depthwise: bool
) -> None:
    """The zeros before and after are those of TensorFlow's documentation, written out."""
    rng = np.random.default_rng(0)
    groups = 4 if depthwise and size > 1 else 1
    x = rng.standard_normal((2, side, side, 4), np.float32)
    kernel = rng.standard_normal((size, size, 4 // groups, 4), np.float32)

    def theirs(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(images, [before, after, before, after])
        return torch.nn.functional.conv2d(padded, weights, stride=stride, dilation=dilation, groups=groups)

    assert_convolution_equals_torch(
        lambda x, kernel: convolve(x, kernel, stride=stride, dilation=dilation, same=True), theirs, x, kernel
    )


def test_depthwise_convolution_has_a_forward_mode_and_maps_over_a_batch_of_kernels() -> None:
    rng = np.random.default_rng(0)
    x, tangent = rng.standard_normal((2, 1, 8, 9, 4), np.float32)
    kernels = rng.standard_normal((3, 3, 3, 1, 4), np.float32)
    _, moved = jax.jvp(lambda x: convolve(x, kernels[0]), (x,), (tangent,))
    np.testing.assert_allclose(moved, convolve(tangent, kernels[0]), atol=1e-5)
    gradient = jax.grad(lambda kernel: jnp.square(convolve(x, kernel)).sum())
    expected = np.stack([gradient(kernel) for kernel in kernels])
    np.testing.assert_allclose(jax.vmap(gradient)(kernels), expected, rtol=1e-4, atol=1e-3)
