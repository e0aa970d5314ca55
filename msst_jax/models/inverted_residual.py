"""The inverted residual block of MobileNetV2 and its successors (Sandler et al. 2018, arXiv:1801.04381)."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.models.layers import Conv, ConvNorm, no_inline


class Block(NamedTuple):
    """One row of a network's table; a `dilation` stands in for an earlier block's stride."""

    size: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: Callable[[jax.Array], jax.Array] = nnx.relu
    stride: int = 1
    dilation: int = 1
    same: bool = False  # TensorFlow's padding, see `convolve`


def squeeze_channels(channels: int) -> int:
    """A quarter of the channels, rounded to a multiple of 8, at least 8 and not below nine tenths of the quarter."""
    quarter = channels // 4
    nearest = max(8, (quarter + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * quarter else nearest


class SqueezeExcitation(nnx.Module):
    """Squeeze-and-excitation: channels weighted by global context (Hu et al. 2017, arXiv:1709.01507)."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.fc1 = Conv(channels, squeeze_channels(channels), 1, dtype=dtype, rngs=rngs)
        self.fc2 = Conv(squeeze_channels(channels), channels, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, C) to the same shape."""
        weights = self.fc2(nnx.relu(self.fc1(x.mean((1, 2), keepdims=True))))
        return x * nnx.hard_sigmoid(weights)


class InvertedResidual(nnx.Module):
    """1x1 expansion, depthwise convolution, squeeze-excitation, 1x1 projection; a shortcut where shapes agree."""

    def __init__(self, inputs: int, block: Block, *, epsilon: float, dtype: DTypeLike, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, epsilon=epsilon, dtype=dtype, rngs=rngs)
        expanded = block.expanded
        self.expand = conv(inputs, expanded, 1) if expanded != inputs else None
        self.depthwise = conv(1, expanded, block.size, stride=block.stride, dilation=block.dilation, same=block.same)
        self.squeeze = SqueezeExcitation(expanded, dtype=dtype, rngs=rngs) if block.squeeze else None
        self.project = conv(expanded, block.outputs, 1)
        self.activation = block.activation
        self.residual = block.stride == 1 and inputs == block.outputs

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs)."""
        out = x if self.expand is None else self.activation(self.expand(x))
        out = self.activation(self.depthwise(out))
        if self.squeeze is not None:
            out = self.squeeze(out)
        out = self.project(out)
        return out + x if self.residual else out


def residual_layers(
    inputs: int, blocks: Sequence[Block], *, epsilon: float, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.List[InvertedResidual]:
    """One layer for each block, in their order; `inputs` are the channels of the first."""
    channels = [inputs, *(block.outputs for block in blocks[:-1])]
    return nnx.List(
        InvertedResidual(count, block, epsilon=epsilon, dtype=dtype, rngs=rngs)
        for count, block in zip(channels, blocks, strict=True)
    )


def layer_outputs(layers: Iterable[InvertedResidual], x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
    """The activation of every layer in order, as ("layers.0", (N, H', W', C)), ..."""
    for index, layer in enumerate(layers):
        x = no_inline(layer, x)
        yield f"layers.{index}", x
