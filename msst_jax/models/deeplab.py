"""DeepLab-V3 (Chen et al. 2017, arXiv:1706.05587): torchvision's deeplabv3_* networks and two small ones of our own."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models import efficientnet
from msst_jax.models.efficientnet import EfficientNetLite
from msst_jax.models.layers import Conv, ConvNorm, SeparableConvNorm, no_inline
from msst_jax.models.low_rank_vgg import CHANNELS, EMBEDDED_OUTPUT, LowRankVGG
from msst_jax.models.mobilenet import MobileNetV3
from msst_jax.models.resnet import ResNet
from msst_jax.models.voc import CLASSES

TORCHVISION_NETWORKS = (
    "deeplabv3_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_mobilenet_v3_large",
)  # the most accurate first
PERSON_NETWORK = "person_vgg16"
LITE_NETWORK = f"deeplabv3_{efficientnet.NETWORK}"
OWN_NETWORKS = (LITE_NETWORK, PERSON_NETWORK)
"""Those that train.py trains."""
SEGMENTERS = (*TORCHVISION_NETWORKS, *OWN_NETWORKS)
# The output stride that the weights were trained at.
OUTPUT_STRIDES = {
    "deeplabv3_resnet101": 8,
    "deeplabv3_resnet50": 8,
    "deeplabv3_mobilenet_v3_large": 16,
    **dict.fromkeys(OWN_NETWORKS, 16),
}


class HeadConfig(NamedTuple):
    """Architecture of everything after the backbone."""

    width: int = 256
    """Channels of every layer except the scores."""
    rates: tuple[int, ...] = (12, 24, 36)
    """Dilation of the 3x3 branches."""
    low: int = 0
    """Channels of the skip connection from the backbone's low-level features, as in DeepLab-V3+ (Chen et al. 2018,
    arXiv:1802.02611); 0 = none."""
    separable: bool = False
    """Whether the 3x3 layers are separable, and two follow the skip connection, as in DeepLab-V3+."""
    classes: tuple[int, ...] = tuple(range(len(CLASSES)))
    """Index in `voc.CLASSES` of each score."""


PERSON_CLASSES = (CLASSES.index("background"), CLASSES.index("person"))
HEAD_CONFIGS = {
    # Crops of 256 pixels have 16x16 features: half the paper's rates for 33x33, or most taps would see zeros.
    LITE_NETWORK: HeadConfig(width=160, rates=(3, 6, 9), low=32, separable=True),
    PERSON_NETWORK: HeadConfig(width=128, rates=(2, 4, 8), low=64, classes=PERSON_CLASSES),
}  # the others have the default, torchvision's
LOW_LEVEL = {
    LITE_NETWORK: (efficientnet.LOW_LEVEL, efficientnet.LOW_LEVEL_CHANNELS),
    PERSON_NETWORK: (EMBEDDED_OUTPUT, CHANNELS),
}
"""(Block of the backbone, its channels) that the skip connection comes from."""
Backbone = ResNet | MobileNetV3 | EfficientNetLite | LowRankVGG


def conv3x3(
    inputs: int, head: HeadConfig, *, dilation: int = 1, dtype: DTypeLike, rngs: nnx.Rngs
) -> ConvNorm | SeparableConvNorm:
    """A 3x3 layer of the head, of its kind and width."""
    if head.separable:
        return SeparableConvNorm(inputs, head.width, dilation=dilation, dtype=dtype, rngs=rngs)
    return ConvNorm(inputs, head.width, 3, dilation=dilation, dtype=dtype, rngs=rngs)


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, and global average pooling, projected by a 1x1."""

    def __init__(self, inputs: int, head: HeadConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width, rates = head.width, head.rates
        plain = ConvNorm(inputs, width, 1, dtype=dtype, rngs=rngs)
        dilated = [conv3x3(inputs, head, dilation=rate, dtype=dtype, rngs=rngs) for rate in rates]
        self.branches = nnx.List([plain, *dilated])
        self.pooling = ConvNorm(inputs, width, 1, dtype=dtype, rngs=rngs)
        self.project = ConvNorm(width * (len(rates) + 2), width, 1, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """aspp.0 to aspp.3, aspp.pooling and aspp, each (N, H, W, width), from features x (N, H, W, inputs)."""
        outputs = []
        for index, branch in enumerate(self.branches):
            outputs.append(nnx.relu(no_inline(branch, x)))
            yield f"aspp.{index}", outputs[-1]
        mean = nnx.relu(self.pooling(x.mean((1, 2), keepdims=True)))
        outputs.append(jnp.broadcast_to(mean, outputs[0].shape))
        yield "aspp.pooling", outputs[-1]
        yield "aspp", nnx.relu(self.project(jnp.concatenate(outputs, -1)))


def check_known(name: str) -> None:
    """Raises UserError unless there is a network of this name."""
    if name not in SEGMENTERS:
        raise UserError(f"unknown segmentation network {name!r}; use one of {', '.join(SEGMENTERS)}")


class DeepLabV3(nnx.Module):
    """Semantic segmentation network: backbone, ASPP, head. Source: torchvision.models.segmentation.deeplabv3_*."""

    def __init__(
        self,
        name: str,
        *,
        classes: Sequence[int] | None = None,
        output_stride: int | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
          name: one of SEGMENTERS.
          classes: index in `voc.CLASSES` of each score; None for those of the network's weights.
          output_stride: ratio of image to feature resolution, 8 or 16 for ResNet, 16 for the others; None for the one
            that the weights were trained at (OUTPUT_STRIDES).
          dtype: compute dtype, float32 or bfloat16; parameters are float32.
          rngs: random keys of the initial weights.

        Raises:
          UserError: unknown network or output stride.
        """
        check_known(name)
        stride = OUTPUT_STRIDES[name] if output_stride is None else output_stride
        head = HEAD_CONFIGS.get(name, HeadConfig())
        self.classes = head.classes if classes is None else tuple(classes)
        self.dtype = dtype
        self.backbone = _backbone(name, output_stride=stride, dtype=dtype, rngs=rngs)
        self.low_level, low_channels = LOW_LEVEL.get(name, ("", 0))
        width = head.width
        self.aspp = ASPP(self.backbone.channels, head, dtype=dtype, rngs=rngs)
        self.low = ConvNorm(low_channels, head.low, 1, dtype=dtype, rngs=rngs) if head.low else None
        self.head = conv3x3(width + head.low, head, dtype=dtype, rngs=rngs)
        self.refine = conv3x3(width, head, dtype=dtype, rngs=rngs) if head.separable else None
        self.scores = Conv(width, len(self.classes), 1, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`.

        Returns:
          (N, H, W, C) in float32, a score for each of `self.classes`.
        """
        ((_, logits),) = deque(self.blocks(images), maxlen=1)  # keeps no other activation alive
        return logits

    def blocks(self, images: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Every block's activation in the order of computation, as (name, (N, H', W', C)); `logits` come last.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`.
        """
        for name, features in self.backbone.blocks(images.astype(self.dtype)):
            if name == self.low_level:
                low = features
            yield name, features
        for name, x in self.aspp.blocks(features):
            yield name, x
        if self.low is not None:
            x = jnp.concatenate([_resize_like(x, low), nnx.relu(self.low(low))], -1)
        x = nnx.relu(self.head(x))
        if self.refine is not None:
            x = nnx.relu(self.refine(x))
        yield "head", x
        x = self.scores(x).astype(jnp.float32)
        yield "scores", x
        yield "logits", _resize_like(x, images)


def _backbone(name: str, *, output_stride: int, dtype: DTypeLike, rngs: nnx.Rngs) -> Backbone:
    if "resnet" in name:
        return ResNet(name.removeprefix("deeplabv3_"), output_stride=output_stride, dtype=dtype, rngs=rngs)
    if name == PERSON_NETWORK:
        return LowRankVGG(output_stride=output_stride, dtype=dtype, rngs=rngs)
    if name == LITE_NETWORK:
        return EfficientNetLite(output_stride=output_stride, dtype=dtype, rngs=rngs)
    return MobileNetV3(output_stride=output_stride, dtype=dtype, rngs=rngs)


def _resize_like(x: jax.Array, other: jax.Array) -> jax.Array:
    """Resizes x (N, h, w, C) to the size of `other`. Source: torch's interpolate, bilinear, align_corners=False."""
    return jax.image.resize(x, (*other.shape[:3], x.shape[-1]), "linear", antialias=False)
