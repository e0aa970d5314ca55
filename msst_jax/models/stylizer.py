"""Feed-forward stylizer: one network, one forward pass, one output image per style."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.ops.convolution_vjp import valid_convolution
from msst_jax.ops.upsample_convolution import upsample_convolution

STRIDE = 4  # total stride of the encoder: two convolutions with stride 2
EPSILON = 1e-5  # torch.nn.InstanceNorm2d's


def instance_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """(x - mean) / sqrt(var + 1e-5) * scale + shift, mean and variance over each image's pixels; float32 inside.

    Args:
      x: (N, H, W, C).
      scale: (N, C) or (C,).
      shift: as scale.

    Source: Ulyanov et al. 2016 (arXiv:1607.08022); torch.nn.InstanceNorm2d.
    """
    x32 = x.astype(jnp.float32)
    centered = x32 - x32.mean((1, 2), keepdims=True)
    factor = jax.lax.rsqrt(jnp.square(centered).mean((1, 2), keepdims=True) + EPSILON)
    scale, shift = (values.reshape(-1, 1, 1, values.shape[-1]) for values in (scale, shift))
    return (centered * (factor * scale) + shift).astype(x.dtype)


class ReflectConv(nnx.Module):
    """Convolution with reflection padding, optionally upsampled before; no bias, as a normalization follows.

    Source: torch.nn.Conv2d(padding_mode="reflect", bias=False), after torch.nn.Upsample(scale_factor=2) if double.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        double: bool = False,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape, jnp.float32))
        self.stride = stride
        self.double = double
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, ceil(H / stride), ceil(W / stride), outputs), or (N, 2H, 2W, outputs) if double."""
        if self.double:
            return upsample_convolution(x.astype(self.dtype), self.kernel[...])
        border = self.kernel.shape[0] // 2
        x = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
        return valid_convolution(x.astype(self.dtype), self.kernel[...].astype(self.dtype), self.stride)


class NormedConv(nnx.Module):
    """ReflectConv and instance normalization, with scale and shift shared by all styles."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = ReflectConv(inputs, outputs, size, stride=stride, dtype=dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(outputs))
        self.shift = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H', W', outputs)."""
        return instance_norm(self.conv(x), self.scale[...], self.shift[...])


class StyledConv(nnx.Module):
    """ReflectConv and conditional instance normalization: a scale and a shift for each style.

    Source: Dumoulin et al. 2016 (arXiv:1610.07629), eq. 5.
    """

    def __init__(
        self, inputs: int, outputs: int, styles: int, *, double: bool = False, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = ReflectConv(inputs, outputs, 3, double=double, dtype=dtype, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((styles, outputs)))
        self.shift = nnx.Param(jnp.zeros((styles, outputs)))

    def __call__(self, x: jax.Array, mixtures: jax.Array) -> jax.Array:
        """(N, H, W, inputs), mixtures (N, styles) to (N, H, W, outputs), or (N, 2H, 2W, outputs) if double."""
        scale, shift = (
            jnp.dot(mixtures, vectors[...], precision=jax.lax.Precision.HIGHEST) for vectors in (self.scale, self.shift)
        )
        return instance_norm(self.conv(x), scale, shift)


class ResidualBlock(nnx.Module):
    """Residual block of two styled convolutions. Source: Johnson et al. 2016 (arXiv:1603.08155), supplement."""

    def __init__(self, channels: int, styles: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv1 = StyledConv(channels, channels, styles, dtype=dtype, rngs=rngs)
        self.conv2 = StyledConv(channels, channels, styles, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, mixtures: jax.Array) -> jax.Array:
        """(N, H, W, C), mixtures (N, styles) to (N, H, W, C)."""
        return x + self.conv2(nnx.relu(self.conv1(x, mixtures)), mixtures)


class Stylizer(nnx.Module):
    """Stylizes images in all styles at once; the encoder runs once per photo, the rest once per style.

    Source: the network of Johnson et al. 2016 with the upsampling and the conditional normalization of
    Dumoulin et al. 2016. Fully convolutional: any size from 16x16.
    """

    def __init__(
        self, styles: int, *, width: int = 32, blocks: int = 5, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        """Builds the network.

        Args:
          styles: S, the number of styles.
          width: channels at full resolution; twice and four times as many at half and quarter resolution.
          blocks: number of residual blocks.
          dtype: compute dtype, float32 or bfloat16; parameters and statistics are float32.
          rngs: random keys of the initial weights.
        """
        self.styles = styles
        self.encoder = nnx.List(
            [
                NormedConv(3, width, 9, dtype=dtype, rngs=rngs),
                NormedConv(width, 2 * width, 3, stride=2, dtype=dtype, rngs=rngs),
                NormedConv(2 * width, 4 * width, 3, stride=2, dtype=dtype, rngs=rngs),
            ]
        )
        self.blocks = nnx.List(ResidualBlock(4 * width, styles, dtype=dtype, rngs=rngs) for _ in range(blocks))
        self.decoder = nnx.List(
            [
                StyledConv(4 * width, 2 * width, styles, double=True, dtype=dtype, rngs=rngs),
                StyledConv(2 * width, width, styles, double=True, dtype=dtype, rngs=rngs),
            ]
        )
        self.output = ReflectConv(width, 3, 9, dtype=dtype, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(3))

    def __call__(self, images: jax.Array, mixtures: jax.Array | None = None) -> jax.Array:
        """Stylized images.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`; H and W at least 16.
          mixtures: (K, S), the weights of the styles in each of K output images, rows of sum 1, or (N, K, S), one
            matrix per photo; None for every style by itself (K = S).

        Returns:
          (N, K, H, W, 3) in [0, 1], float32.
        """
        n, height, width, _ = images.shape
        mixtures = jnp.eye(self.styles) if mixtures is None else mixtures
        x = jnp.pad(images, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="reflect")
        for layer in self.encoder:
            x = nnx.relu(layer(x))
        x = jnp.repeat(x, mixtures.shape[-2], axis=0)  # photo 1 in all styles, photo 2 in all styles, ...
        mixtures = jnp.broadcast_to(mixtures, (n, *mixtures.shape[-2:])).reshape(-1, self.styles)
        for block in self.blocks:
            x = block(x, mixtures)
        for styled in self.decoder:
            x = nnx.relu(styled(x, mixtures))
        x = nnx.sigmoid(self.output(x).astype(jnp.float32) + self.bias[...])
        return x[:, :height, :width].reshape(n, -1, height, width, 3)


def blend_mixtures(styles: int, ratio: float) -> jax.Array:
    """(S, S) mixtures of a blend ratio r: image i has weight 1 for style i, r for the others, normalized to sum 1."""
    mixtures = jnp.eye(styles) + ratio * (1 - jnp.eye(styles))
    return mixtures / mixtures.sum(-1, keepdims=True)
