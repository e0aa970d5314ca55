"""Feed-forward stylizer: one network, one forward pass, the finished picture, every region in its own style."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.models.region_norm import instance_norm, region_norm
from msst_jax.ops.convolution_vjp import valid_convolution
from msst_jax.ops.image import halve, upsample

STRIDE = 4  # total stride of the encoder: two convolutions with stride 2


class ReflectConv(nnx.Module):
    """Convolution with reflection padding; no bias, as a normalization follows.

    Source: torch.nn.Conv2d(padding_mode="reflect", bias=False).
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs):
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape, jnp.float32))
        self.stride = stride
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, ceil(H / stride), ceil(W / stride), outputs)."""
        border = self.kernel.shape[0] // 2
        x = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
        return valid_convolution(x.astype(self.dtype), self.kernel[...].astype(self.dtype), self.stride)


class NormedConv(nnx.Module):
    """ReflectConv and instance normalization, with a scale and shift that all styles share."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = ReflectConv(inputs, outputs, size, stride=stride, dtype=dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(outputs))
        self.shift = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs)."""
        return instance_norm(self.conv(x), self.scale[...], self.shift[...])


class ResidualBlock(nnx.Module):
    """Residual block of two styled convolutions. Source: Johnson et al. 2016 (arXiv:1603.08155), supplement."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv1 = ReflectConv(channels, channels, 3, dtype=dtype, rngs=rngs)
        self.conv2 = ReflectConv(channels, channels, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, masks: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
        """(N, H, W, C), masks (N, H, W, K) and two style vectors (N, K, 2C) to (N, H, W, C)."""
        inner = nnx.relu(region_norm(self.conv1(x), masks, first))
        return x + region_norm(self.conv2(inner), masks, second)


class TransferNetwork(nnx.Module):
    """Paints a photo, each region by its own style vector, in one pass whatever the number of regions.

    An encoder, residual blocks at a quarter of the size, and a decoder that meets the encoder's features again at half
    and at full size. Every convolution after the encoder is normalized with a scale and a shift that the masks mix, at
    each pixel, from those of the regions; with a mask of ones that is conditional instance normalization. Fully
    convolutional: any size from 16x16.

    Source: the network of Johnson et al. 2016 (arXiv:1603.08155); normalization as in Dumoulin et al. 2016
    (arXiv:1610.07629), eq. 5, by region as in SEAN (Zhu et al. 2020, arXiv:1911.12861); skip connections of
    Ronneberger et al. 2015 (arXiv:1505.04597), added.
    """

    def __init__(self, *, width: int = 16, blocks: int = 6, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Builds the network.

        Args:
          width: channels at full resolution; twice and four times as many at half and quarter resolution.
          blocks: number of residual blocks.
          dtype: compute dtype, float32 or bfloat16; parameters and statistics are float32.
          rngs: random keys of the initial weights.
        """
        self.dtype = dtype
        half, quarter = 2 * width, 4 * width
        self.encoder = nnx.List(
            [
                NormedConv(3, width, 3, dtype=dtype, rngs=rngs),
                NormedConv(width, half, 3, stride=2, dtype=dtype, rngs=rngs),
                NormedConv(half, quarter, 3, stride=2, dtype=dtype, rngs=rngs),
            ]
        )
        self.blocks = nnx.List(ResidualBlock(quarter, dtype=dtype, rngs=rngs) for _ in range(blocks))
        self.decoder = nnx.List(
            [
                ReflectConv(quarter, half, 3, dtype=dtype, rngs=rngs),
                ReflectConv(half, width, 3, dtype=dtype, rngs=rngs),
            ]
        )
        self.output = ReflectConv(width, 3, 5, dtype=dtype, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(3))
        self.styled_channels = (*[quarter] * (2 * blocks), half, width)

    @property
    def vector_size(self) -> int:
        """V, the length of a style vector: a scale and a shift for every channel of every styled convolution."""
        return 2 * sum(self.styled_channels)

    def __call__(self, images: jax.Array, masks: jax.Array, vectors: jax.Array) -> jax.Array:
        """Stylized images.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`; H and W at least 16.
          masks: (N, H, W, K) in [0, 1], sum 1 at every pixel.
          vectors: (N, K, V), the style of each region; zeros leave the features as normalized.

        Returns:
          (N, H, W, 3) in [0, 1], float32.
        """
        _, height, width, _ = images.shape
        padding = ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
        x, full = jnp.pad(images, padding, mode="reflect"), jnp.pad(masks, padding, mode="edge")
        half = halve(full)
        quarter = halve(half)
        styles = split_vectors(vectors, self.styled_channels)
        skips = []
        for layer in self.encoder:
            x = nnx.relu(layer(x))
            skips.append(x)
        for index, block in enumerate(self.blocks):
            x = block(x, quarter, *styles[2 * index : 2 * index + 2])
        for conv, skip, mask, style in zip(self.decoder, skips[-2::-1], (half, full), styles[-2:], strict=True):
            x = nnx.relu(region_norm(conv(upsample(x)) + skip, mask, style))
        x = nnx.sigmoid(self.output(x).astype(jnp.float32) + self.bias[...])
        return x[:, :height, :width]


class Stylizer(nnx.Module):
    """A transfer network with a table of style vectors: a fast model for a fixed set of styles."""

    def __init__(
        self, styles: int, *, width: int = 16, blocks: int = 6, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        """Builds the network.

        Args:
          styles: S, the number of styles.
          width: see `TransferNetwork`, like the rest.
          blocks: number of residual blocks.
          dtype: compute dtype.
          rngs: random keys of the initial weights.
        """
        self.transfer = TransferNetwork(width=width, blocks=blocks, dtype=dtype, rngs=rngs)
        self.table = nnx.Param(jnp.zeros((styles, self.transfer.vector_size)))

    def __call__(self, images: jax.Array, masks: jax.Array, mixtures: jax.Array | None = None) -> jax.Array:
        """Stylized images.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`; H and W at least 16.
          masks: (N, H, W, K) in [0, 1], sum 1 at every pixel.
          mixtures: (K, S), the weights of the styles in each of the K regions, rows of sum 1, or (N, K, S), one matrix
            per photo; None for style k in region k (K = S).

        Returns:
          (N, H, W, 3) in [0, 1], float32.
        """
        mixtures = jnp.eye(len(self.table[...])) if mixtures is None else mixtures
        vectors = jnp.matmul(mixtures, self.table[...], precision=jax.lax.Precision.HIGHEST)
        return self.transfer(images, masks, jnp.broadcast_to(vectors, (len(images), *vectors.shape[-2:])))


def split_vectors(vectors: jax.Array, channels: Sequence[int]) -> list[jax.Array]:
    """Style vectors (..., V) as the parts (..., 2C) of the styled convolutions with C channels each."""
    parts, start = [], 0
    for count in channels:
        parts.append(vectors[..., start : start + 2 * count])
        start += 2 * count
    return parts


def blend_mixtures(styles: int, ratio: float) -> jax.Array:
    """(S, S) mixtures of a blend ratio r: region i has weight 1 for style i, r for the others, normalized to sum 1."""
    mixtures = jnp.eye(styles) + ratio * (1 - jnp.eye(styles))
    return mixtures / mixtures.sum(-1, keepdims=True)
