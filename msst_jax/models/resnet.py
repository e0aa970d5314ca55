"""ResNet-50 and ResNet-101 without the classifier (He et al. 2015, arXiv:1512.03385), dilated for segmentation."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.layers import ConvNorm, no_inline

# Blocks in each of the four layers (table 1 of the paper).
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
# {output stride: (stride, dilation) of each layer}. Where a dilation replaces a stride, the first block of the layer
# keeps the dilation of the previous layer: torchvision's replace_stride_with_dilation.
STRIDES_AND_DILATIONS = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
}


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """(N, H, W, C) to (N, ceil(H/2), ceil(W/2), C). Source: torch.nn.MaxPool2d(3, stride=2, padding=1)."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut, the stride at the 3x3 (torchvision's v1.5)."""

    def __init__(
        self, inputs: int, width: int, *, stride: int, dilation: int, project: bool, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        """Builds the block; `project` puts a 1x1 convolution on the shortcut."""
        outputs = width * EXPANSION
        self.conv1 = ConvNorm(inputs, width, 1, dtype=dtype, rngs=rngs)
        self.conv2 = ConvNorm(width, width, 3, stride=stride, dilation=dilation, dtype=dtype, rngs=rngs)
        self.conv3 = ConvNorm(width, outputs, 1, dtype=dtype, rngs=rngs)
        self.shortcut = ConvNorm(inputs, outputs, 1, stride=stride, dtype=dtype, rngs=rngs) if project else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', 4 * width)."""
        out = nnx.relu(self.conv1(x))
        out = nnx.relu(self.conv2(out))
        out = self.conv3(out)
        return nnx.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """torchvision.models.resnet50 / resnet101 up to layer4: 2048 channels."""

    channels = WIDTHS[-1] * EXPANSION

    def __init__(self, name: str, *, output_stride: int = 8, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Builds the network.

        Args:
          name: "resnet50" or "resnet101".
          output_stride: ratio of image to feature resolution, 8 or 16.
          dtype: compute dtype; parameters are float32.
          rngs: random keys of the initial weights.

        Raises:
          UserError: any other output stride.
        """
        if output_stride not in STRIDES_AND_DILATIONS:
            choices = ", ".join(map(str, STRIDES_AND_DILATIONS))
            raise UserError(f"{name} has no output stride {output_stride}; use one of {choices}")
        self.stem = ConvNorm(3, WIDTHS[0], 7, stride=2, dtype=dtype, rngs=rngs)
        channels = WIDTHS[0]
        previous_dilation = 1
        layers = []
        steps = STRIDES_AND_DILATIONS[output_stride]
        for width, depth, (stride, dilation) in zip(WIDTHS, DEPTHS[name], steps, strict=True):
            blocks = []
            for index in range(depth):
                first = index == 0
                block = Bottleneck(
                    channels,
                    width,
                    stride=stride if first else 1,
                    dilation=previous_dilation if first else dilation,
                    project=first,
                    dtype=dtype,
                    rngs=rngs,
                )
                blocks.append(block)
                channels = width * EXPANSION
            layers.append(nnx.List(blocks))
            previous_dilation = dilation
        self.layer1, self.layer2, self.layer3, self.layer4 = layers

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in order: stem (after its pooling), layer1.0, ..., layer4.2.

        Args:
          x: normalized images (N, H, W, 3).
        """
        x = max_pool_3x3(nnx.relu(self.stem(x)))
        yield "stem", x
        for number, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), start=1):
            for index, block in enumerate(layer):
                x = no_inline(block, x)
                yield f"layer{number}.{index}", x
