"""MobileNetV3-Large without the classifier (Howard et al. 2019, arXiv:1905.02244), dilated for segmentation."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.inverted_residual import Block, layer_outputs, residual_layers
from msst_jax.models.layers import ConvNorm

EPSILON = 1e-3  # of every BatchNorm in torchvision's MobileNetV3
OUTPUT_STRIDE = 16


BLOCKS = (
    Block(3, 16, 16, False),
    Block(3, 64, 24, False, stride=2),
    Block(3, 72, 24, False),
    Block(5, 72, 40, True, stride=2),
    Block(5, 120, 40, True),
    Block(5, 120, 40, True),
    Block(3, 240, 80, False, nnx.hard_swish, stride=2),
    Block(3, 200, 80, False, nnx.hard_swish),
    Block(3, 184, 80, False, nnx.hard_swish),
    Block(3, 184, 80, False, nnx.hard_swish),
    Block(3, 480, 112, True, nnx.hard_swish),
    Block(3, 672, 112, True, nnx.hard_swish),
    Block(5, 672, 160, True, nnx.hard_swish, dilation=2),
    Block(5, 960, 160, True, nnx.hard_swish, dilation=2),
    Block(5, 960, 160, True, nnx.hard_swish, dilation=2),
)
STEM = 16


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
        self.layers = residual_layers(STEM, BLOCKS, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.last = ConvNorm(BLOCKS[-1].outputs, self.channels, 1, epsilon=EPSILON, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in order: stem, layers.0, ..., layers.14, last.

        Args:
          x: normalized images (N, H, W, 3).
        """
        x = nnx.hard_swish(self.stem(x))
        yield "stem", x
        for name, features in layer_outputs(self.layers, x):
            yield name, features
        yield "last", nnx.hard_swish(self.last(features))
