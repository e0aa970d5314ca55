"""VGG-16 and VGG-19 feature extractors (Simonyan & Zisserman 2014, arXiv:1409.1556)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.ops.convolution_vjp import padded_convolution
from msst_jax.ops.pooling import average_pool, max_pool

# Number of convolutions in each of the five blocks; configurations D and E of the paper.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
POOLINGS: dict[str, Callable[[jax.Array], jax.Array]] = {"max": max_pool, "average": average_pool}
PADDINGS = ("zeros", "replicate")


def tap_names(name: str, deepest: str | None = None) -> tuple[str, ...]:
    """Every tap of a network in order: conv1_1, relu1_1, conv1_2, ..., pool1, conv2_1, ..., pool5.

    Args:
      name: "vgg16" or "vgg19".
      deepest: the last tap to list; None for all.

    Raises:
      UserError: unknown network or tap.
    """
    if name not in BLOCKS:
        raise UserError(f"unknown network {name!r}; use one of {', '.join(BLOCKS)}")
    names: list[str] = []
    for block, depth in enumerate(BLOCKS[name], start=1):
        for index in range(1, depth + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    if deepest is None:
        return tuple(names)
    if deepest not in names:
        raise UserError(f"{name} has no layer {deepest!r}; it has {', '.join(names)}")
    return tuple(names[: names.index(deepest) + 1])


def deepest_tap(name: str, taps: Sequence[str]) -> str:
    """The last of `taps` in the order of the network.

    Raises:
      UserError: unknown network or tap, or no taps.
    """
    if not taps:
        raise UserError(f"no layer of {name} is requested; name at least one, such as relu3_1")
    return max(taps, key=lambda tap: len(tap_names(name, tap)))


def taps_to(taps: Sequence[str], tap: str) -> Sequence[str]:
    """Those of the taps of a network that come up to one of them."""
    return taps[: taps.index(tap) + 1]


def deepest_of(taps: Sequence[str], layers: Sequence[str]) -> str:
    """The last of some layers in the order of the taps."""
    return max(layers, key=taps.index)


def receptive_field(taps: Sequence[str]) -> int:
    """Side in pixels of the square of the image that a feature of the last of `taps`, all taps up to it, depends on."""
    return layer_stride(taps) + 2 * layer_reach(taps)


def layer_reach(taps: Sequence[str]) -> int:
    """How far a feature of the last of `taps`, all taps up to it, sees beyond the square of stride x stride pixels
    that it stands for."""
    return sum(layer_stride(taps[:index]) for index, tap in enumerate(taps) if tap.startswith("conv"))


def layer_stride(taps: Sequence[str]) -> int:
    """Pixels of the image between neighboring features of the last of `taps`, all taps up to it."""
    return 1 << sum(tap.startswith("pool") for tap in taps)


class Conv3x3(nnx.Module):
    """A convolution that keeps the size, with the gradients of `padded_convolution`."""

    def __init__(self, inputs: int, outputs: int, *, padding: str, dtype: DTypeLike, rngs: nnx.Rngs):
        """Builds the layer; see `VGG` for the padding."""
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (3, 3, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.padding = padding
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H, W, outputs)."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        if self.padding == "zeros":
            return padded_convolution(x, kernel, 1) + bias
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        return padded_convolution(x, kernel, 0) + bias


class VGG(nnx.Module):
    """The convolutional layers of VGG, up to `deepest`.

    Equal to torchvision.models.vgg16 / vgg19 `.features` (3x3 convolutions, zero padding 1).
    The convolutions are attributes conv1_1, conv1_2, ...
    """

    def __init__(
        self,
        name: str,
        *,
        deepest: str | None = None,
        pooling: str = "max",
        padding: str = "zeros",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
          name: "vgg16" or "vgg19".
          deepest: the last tap that is needed; None builds all five blocks.
          pooling: "max" or "average".
          padding: of the first convolution: "zeros" as in torchvision, or "replicate", the nearest border pixel, which
            avoids a pale border in images optimized from these features.
          dtype: compute dtype, float32 or bfloat16, or float64 if JAX has it enabled; parameters are float32.
          rngs: random keys of the initial weights.

        Raises:
          UserError: unknown network, tap, pooling or padding.
        """
        if pooling not in POOLINGS:
            raise UserError(f"unknown pooling {pooling!r}; use one of {', '.join(POOLINGS)}")
        if padding not in PADDINGS:
            raise UserError(f"unknown padding {padding!r}; use one of {', '.join(PADDINGS)}")
        self.taps = tap_names(name, deepest)
        self.pooling = pooling
        self.dtype = dtype
        channels = 3
        for tap in self.taps:
            if tap.startswith("conv"):
                width = WIDTHS[int(tap[4]) - 1]
                border = padding if channels == 3 else "zeros"
                setattr(self, tap, Conv3x3(channels, width, padding=border, dtype=dtype, rngs=rngs))
                channels = width

    def __call__(self, images: jax.Array, taps: Sequence[str]) -> dict[str, jax.Array]:
        """Features of normalized images, computed no deeper than the deepest tap.

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`.
          taps: names such as "conv1_1", "relu3_1", "pool2".

        Returns:
          {tap: (N, H', W', C)} in the compute dtype.

        Raises:
          UserError: a tap that this network does not have.
        """
        missing = [tap for tap in taps if tap not in self.taps]
        if missing:
            raise UserError(f"no layer {', '.join(missing)} in this network; it has {', '.join(self.taps)}")
        features: dict[str, jax.Array] = {}
        x = images.astype(self.dtype)
        for tap in self.taps:
            if len(features) == len(set(taps)):
                break
            if tap.startswith("conv"):
                x = getattr(self, tap)(x)
            elif tap.startswith("relu"):
                x = nnx.relu(x)
            else:
                x = POOLINGS[self.pooling](x)
            if tap in taps:
                features[tap] = x
        return features
