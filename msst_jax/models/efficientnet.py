"""EfficientNet-Lite0 without the classifier (Tan & Le 2019, arXiv:1905.11946), dilated for segmentation.

The Lite variant, published with TensorFlow's EfficientNet, has ReLU6 in place of swish and no squeeze-excitation.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.inverted_residual import Block, layer_outputs, residual_layers
from msst_jax.models.layers import ConvNorm

NETWORK = "efficientnet_lite0"
EPSILON = 1e-3  # of every BatchNorm
OUTPUT_STRIDE = 16
STEM = 32
EXPANSION = 6  # of every stage but the first
STAGES = ((3, 2, 2, 24), (5, 2, 2, 40), (3, 3, 2, 80), (5, 3, 1, 112), (5, 4, 2, 192), (3, 1, 1, 320))
"""(kernel size, blocks, stride, channels) of the paper's table 1, from the second stage on."""
LOW_LEVEL = "layers.2"
LOW_LEVEL_CHANNELS = 24


def stage_blocks(output_stride: int = OUTPUT_STRIDE) -> list[Block]:
    """The blocks in order; a stride beyond the output stride is a dilation of the blocks after it.

    So every second feature of the dilated network is one of the original, computed from the same taps.
    """
    blocks = [Block(3, STEM, 16, False, nnx.relu6, same=True)]
    reached, dilation = 2, 1  # the stem's stride
    for size, repeats, stride, outputs in STAGES:
        for index in range(repeats):
            step = stride if index == 0 and reached * stride <= output_stride else 1
            expanded = EXPANSION * blocks[-1].outputs
            blocks.append(Block(size, expanded, outputs, False, nnx.relu6, step, dilation, same=True))
            reached *= step
            if index == 0 and step < stride:
                dilation *= stride
    return blocks


class EfficientNetLite(nnx.Module):
    """EfficientNet-Lite0's blocks: 320 channels at output stride 16, 24 at stride 4 after LOW_LEVEL."""

    channels = STAGES[-1][-1]

    def __init__(self, *, output_stride: int = OUTPUT_STRIDE, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Builds the network; `dtype` is the compute dtype, parameters are float32.

        Raises:
          UserError: an output stride other than 16 and 32.
        """
        if output_stride not in (OUTPUT_STRIDE, 2 * OUTPUT_STRIDE):
            raise UserError(f"{NETWORK} has no output stride {output_stride}; use {OUTPUT_STRIDE}")
        self.stem = ConvNorm(3, STEM, 3, stride=2, same=True, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.layers = residual_layers(STEM, stage_blocks(output_stride), epsilon=EPSILON, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in order: stem, layers.0, ..., layers.15.

        Args:
          x: normalized images (N, H, W, 3).
        """
        x = nnx.relu6(self.stem(x))
        yield "stem", x
        yield from layer_outputs(self.layers, x)
