"""MobileNetV3-Large without the classifier (Howard et al. 2019, arXiv:1905.02244), dilated for segmentation."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.layers import Conv, ConvNorm, no_inline

EPSILON = 1e-3  # of every BatchNorm in torchvision's MobileNetV3
OUTPUT_STRIDE = 16


class Block(NamedTuple):
    """One row of the paper's table 1; `dilation` replaces the last stride, as in its segmentation experiments."""

    size: int
    expanded: int
    outputs: int
    squeeze: bool
    hard: bool  # hardswish instead of ReLU
    stride: int = 1
    dilation: int = 1


BLOCKS = (
    Block(3, 16, 16, False, False),
    Block(3, 64, 24, False, False, stride=2),
    Block(3, 72, 24, False, False),
    Block(5, 72, 40, True, False, stride=2),
    Block(5, 120, 40, True, False),
    Block(5, 120, 40, True, False),
    Block(3, 240, 80, False, True, stride=2),
    Block(3, 200, 80, False, True),
    Block(3, 184, 80, False, True),
    Block(3, 184, 80, False, True),
    Block(3, 480, 112, True, True),
    Block(3, 672, 112, True, True),
    Block(5, 672, 160, True, True, dilation=2),
    Block(5, 960, 160, True, True, dilation=2),
    Block(5, 960, 160, True, True, dilation=2),
)
STEM = 16


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

    def __init__(self, inputs: int, block: Block, *, dtype: DTypeLike, rngs: nnx.Rngs):
        conv = functools.partial(ConvNorm, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        expanded = block.expanded
        self.expand = conv(inputs, expanded, 1) if expanded != inputs else None
        self.depthwise = conv(1, expanded, block.size, stride=block.stride, dilation=block.dilation)
        self.squeeze = SqueezeExcitation(expanded, dtype=dtype, rngs=rngs) if block.squeeze else None
        self.project = conv(expanded, block.outputs, 1)
        self.hard = block.hard
        self.residual = block.stride == 1 and inputs == block.outputs

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs)."""
        activate = nnx.hard_swish if self.hard else nnx.relu
        out = x if self.expand is None else activate(self.expand(x))
        out = activate(self.depthwise(out))
        if self.squeeze is not None:
            out = self.squeeze(out)
        out = self.project(out)
        return out + x if self.residual else out


class MobileNetV3(nnx.Module):
    """torchvision.models.mobilenet_v3_large(dilated=True).features: 960 channels at output stride 16."""

    channels = BLOCKS[-1].outputs * 6

    def __init__(self, *, output_stride: int = OUTPUT_STRIDE, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Builds the network; `dtype` is the compute dtype, parameters are float32.

        Raises:
          UserError: an output stride other than 16.
        """
        if output_stride != OUTPUT_STRIDE:
            raise UserError(f"mobilenet_v3_large has no output stride {output_stride}; use {OUTPUT_STRIDE}")
        self.stem = ConvNorm(3, STEM, 3, stride=2, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        inputs = [STEM, *(block.outputs for block in BLOCKS[:-1])]
        self.layers = nnx.List(
            InvertedResidual(channels, block, dtype=dtype, rngs=rngs)
            for channels, block in zip(inputs, BLOCKS, strict=True)
        )
        self.last = ConvNorm(BLOCKS[-1].outputs, self.channels, 1, epsilon=EPSILON, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in order: stem, layers.0, ..., layers.14, last.

        Args:
          x: normalized images (N, H, W, 3).
        """
        x = nnx.hard_swish(self.stem(x))
        yield "stem", x
        for index, layer in enumerate(self.layers):
            x = no_inline(layer, x)
            yield f"layers.{index}", x
        yield "last", nnx.hard_swish(self.last(x))
