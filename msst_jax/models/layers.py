"""Layers of the segmentation networks, for inference: convolutions with frozen BatchNorm, parameters in float32."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from msst_jax.models.convolutions import convolve


def _kernel(size: int, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(nnx.initializers.he_normal()(rngs.params(), (size, size, inputs, outputs), jnp.float32))


class Conv(nnx.Module):
    """Zero-padded convolution with a bias. Source: torch.nn.Conv2d."""

    def __init__(self, inputs: int, outputs: int, size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.kernel = _kernel(size, inputs, outputs, rngs)
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H, W, outputs)."""
        return convolve(x, self.kernel[...].astype(self.dtype)) + self.bias[...].astype(self.dtype)


class ConvNorm(nnx.Module):
    """Zero-padded convolution without bias, then BatchNorm with its running statistics.

    Source: torch.nn.Conv2d(bias=False) and torch.nn.BatchNorm2d in eval mode.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        epsilon: float = 1e-5,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Builds the layer; `inputs` of 1 where more channels come in makes it depthwise."""
        self.kernel = _kernel(size, inputs, outputs, rngs)
        self.scale = nnx.Param(jnp.ones(outputs))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.mean = nnx.BatchStat(jnp.zeros(outputs))
        self.var = nnx.BatchStat(jnp.ones(outputs))
        self.stride = stride
        self.dilation = dilation
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs); depthwise from (N, H, W, outputs)."""
        x = convolve(x, self.kernel[...].astype(self.dtype), stride=self.stride, dilation=self.dilation)
        scale = self.scale[...] * lax.rsqrt(self.var[...] + self.epsilon)
        shift = self.bias[...] - self.mean[...] * scale
        return x * scale.astype(self.dtype) + shift.astype(self.dtype)
