"""Layers of the segmentation networks, for inference: convolutions with frozen BatchNorm, parameters in float32."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.typing import DTypeLike

from msst_jax.ops.convolution import convolve


def no_inline(block: nnx.Module, x: jax.Array) -> jax.Array:
    """block(x), compiled apart on CPU: the same numbers, sooner and in less memory.

    In a row of blocks with shortcuts XLA on CPU fuses the sum at the end of a block into the next block, and with it
    the sums of all blocks before: the 23rd block of ResNet-101's layer 3 reads 22 earlier results. In branches side
    by side it keeps the buffers of all branches. A call that is not inlined ends both (520 pixels, two cores: layer 3
    takes 0.59 instead of 0.97 s; the whole network 264 instead of 519 MB), and equal blocks are compiled once.
    """
    return lax.platform_dependent(x, cpu=functools.partial(_called, block), default=block)


def _called(block: nnx.Module, x: jax.Array) -> jax.Array:
    with set_xla_metadata(inlineable="false"):
        return _call(block, x)


@jax.jit
def _call(block: nnx.Module, x: jax.Array) -> jax.Array:
    with set_xla_metadata(inlineable="true"):  # the calls within, such as relu's, are to be fused as ever
        return block(x)


def _kernel(size: int, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(nnx.initializers.he_normal()(rngs.params(), (size, size, inputs, outputs), jnp.float32))


class Conv(nnx.Module):
    """Zero-padded convolution, with a bias or without. Source: torch.nn.Conv2d."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        dilation: int = 1,
        bias: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.kernel = _kernel(size, inputs, outputs, rngs)
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.dilation = dilation
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H, W, outputs)."""
        x = convolve(x, self.kernel[...].astype(self.dtype), dilation=self.dilation)
        return x if self.bias is None else x + self.bias[...].astype(self.dtype)


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
