"""DeepLab-V3 (Chen et al. 2017, arXiv:1706.05587) for inference, equal to torchvision's deeplabv3_* networks."""

from collections import deque
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.layers import Conv, ConvNorm, apart
from msst_jax.models.mobilenet import MobileNetV3
from msst_jax.models.resnet import ResNet
from msst_jax.voc import CLASSES

NAMES = ("deeplabv3_resnet101", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large")
# What torchvision's weights were trained at.
OUTPUT_STRIDES = {"deeplabv3_resnet101": 8, "deeplabv3_resnet50": 8, "deeplabv3_mobilenet_v3_large": 16}
RATES = (12, 24, 36)
WIDTH = 256


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, and the picture's mean, put together by a 1x1."""

    def __init__(self, inputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        plain = ConvNorm(inputs, WIDTH, 1, dtype=dtype, rngs=rngs)
        dilated = [ConvNorm(inputs, WIDTH, 3, dilation=rate, dtype=dtype, rngs=rngs) for rate in RATES]
        self.branches = nnx.List([plain, *dilated])
        self.pooling = ConvNorm(inputs, WIDTH, 1, dtype=dtype, rngs=rngs)
        self.project = ConvNorm(WIDTH * (len(RATES) + 2), WIDTH, 1, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """aspp.0 to aspp.3 and aspp.pooling, then aspp, all (N, H, W, 256) of features (N, H, W, inputs)."""
        parts = []
        for index, branch in enumerate(self.branches):
            parts.append(nnx.relu(apart(branch, x)))
            yield f"aspp.{index}", parts[-1]
        mean = nnx.relu(self.pooling(x.mean((1, 2), keepdims=True)))
        parts.append(jnp.broadcast_to(mean, parts[0].shape))
        yield "aspp.pooling", parts[-1]
        yield "aspp", nnx.relu(self.project(jnp.concatenate(parts, -1)))


class DeepLabV3(nnx.Module):
    """Scores of every class at every pixel. Source: torchvision.models.segmentation.deeplabv3_*."""

    def __init__(
        self,
        name: str,
        *,
        classes: int = len(CLASSES),
        output_stride: int | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
          name: one of NAMES.
          classes: how many scores a pixel has.
          output_stride: pixels of the picture to one of the features, 8 or 16 for ResNet, 16 for MobileNetV3;
            None for what torchvision's weights were trained at (OUTPUT_STRIDES).
          dtype: type of the computation, float32 or bfloat16; parameters are float32.
          rngs: random keys of the initial weights.

        Raises:
          UserError: unknown network or output stride.
        """
        if name not in NAMES:
            raise UserError(f"unknown segmentation network {name!r}; use one of {', '.join(NAMES)}")
        stride = OUTPUT_STRIDES[name] if output_stride is None else output_stride
        self.dtype = dtype
        self.backbone: ResNet | MobileNetV3
        if "resnet" in name:
            self.backbone = ResNet(name.removeprefix("deeplabv3_"), output_stride=stride, dtype=dtype, rngs=rngs)
        else:
            self.backbone = MobileNetV3(output_stride=stride, dtype=dtype, rngs=rngs)
        self.aspp = ASPP(self.backbone.channels, dtype=dtype, rngs=rngs)
        self.head = ConvNorm(WIDTH, WIDTH, 3, dtype=dtype, rngs=rngs)
        self.scores = Conv(WIDTH, classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits.

        Args:
          images: (N, H, W, 3), normalised by `images.normalize`.

        Returns:
          (N, H, W, classes) in float32.
        """
        ((_, logits),) = deque(self.blocks(images), maxlen=1)  # no other activation is kept
        return logits

    def blocks(self, images: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in the order of computation, as (name, (N, H', W', C)); `logits` come last.

        Args:
          images: (N, H, W, 3), normalised by `images.normalize`.
        """
        for name, features in self.backbone.blocks(images.astype(self.dtype)):
            yield name, features
        for name, x in self.aspp.blocks(features):
            yield name, x
        x = nnx.relu(self.head(x))
        yield "head", x
        x = self.scores(x).astype(jnp.float32)
        yield "scores", x
        yield "logits", jax.image.resize(x, (*images.shape[:3], x.shape[-1]), "linear", antialias=False)
