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
    """block(x), compiled as a separate function on CPU: the same numbers, faster and in less memory.

    In a chain of residual blocks XLA on CPU fuses the sum at the end of a block into the next block, and with it the
    sums of all previous blocks: the 23rd block of ResNet-101's layer 3 reads 22 earlier results. For parallel branches
    it keeps the buffers of all branches. A call that is not inlined avoids both (520 pixels, two cores: layer 3 takes
    0.59 instead of 0.97 s; the whole network 264 instead of 519 MB), and equal blocks are compiled once.
    """
    return lax.platform_dependent(x, cpu=functools.partial(_call_not_inlined, block), default=block)


def _call_not_inlined(block: nnx.Module, x: jax.Array) -> jax.Array:
    with set_xla_metadata(inlineable="false"):
        return _jitted_call(block, x)


@jax.jit
def _jitted_call(block: nnx.Module, x: jax.Array) -> jax.Array:
    with set_xla_metadata(inlineable="true"):  # calls inside, such as relu's, are fused as usual
        return block(x)


def _kernel(size: int, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Param:
    return nnx.Param(nnx.initializers.he_normal()(rngs.params(), (size, size, inputs, outputs), jnp.float32))


class Conv(nnx.Module):
    """Zero-padded convolution, with or without bias. Source: torch.nn.Conv2d."""

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
        same: bool = False,
        epsilon: float = 1e-5,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Builds the layer; with `inputs` = 1 and more channels in x it is depthwise. `same` is that of `convolve`."""
        self.kernel = _kernel(size, inputs, outputs, rngs)
        self.scale = nnx.Param(jnp.ones(outputs))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.mean = nnx.BatchStat(jnp.zeros(outputs))
        self.var = nnx.BatchStat(jnp.ones(outputs))
        self.stride = stride
        self.dilation = dilation
        self.same = same
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs); depthwise from (N, H, W, outputs)."""
        kernel = self.kernel[...].astype(self.dtype)
        x = convolve(x, kernel, stride=self.stride, dilation=self.dilation, same=self.same)
        scale = self.scale[...] * lax.rsqrt(self.var[...] + self.epsilon)
        shift = self.bias[...] - self.mean[...] * scale
        return x * scale.astype(self.dtype) + shift.astype(self.dtype)


class SeparableConvNorm(nnx.Module):
    """A depthwise 3x3 convolution, then a 1x1, each with BatchNorm, the first with ReLU (Chollet 2016,
    arXiv:1610.02357): a ninth of the products of a 3x3 or less.
    """

    def __init__(self, inputs: int, outputs: int, *, dilation: int = 1, dtype: DTypeLike, rngs: nnx.Rngs):
        self.depthwise = ConvNorm(1, inputs, 3, dilation=dilation, dtype=dtype, rngs=rngs)
        self.pointwise = ConvNorm(inputs, outputs, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H, W, outputs)."""
        return self.pointwise(nnx.relu(self.depthwise(x)))
