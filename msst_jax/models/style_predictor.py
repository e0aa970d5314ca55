"""From a painting to its style vector: what makes one network a fast model for any painting."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.models.stylizer import TransferNetwork
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
"""Layers of VGG whose moments describe a painting."""
MOMENTS = 2 * (64 + 128 + 256 + 512)
"""D, the number of moments: for each channel of LAYERS its mean and its mean square."""
HIDDEN, BOTTLENECK = 256, 64
OUTPUT_GAIN = 0.3  # standard deviation of the entries of style vectors at first
MAX_STATISTIC = 4.0  # in spreads; beyond it a painting is unlike all of the training, and no guide to how much
MIN_SPREAD = 1e-3  # of a moment over the paintings of the training, below which it tells nothing


def style_moments(vgg: VGG, painting: jax.Array) -> jax.Array:
    """The moments (D,) of a painting (H, W, 3) in [0, 1]: means of the features of LAYERS, then of their squares.

    The moments of two paintings side by side are the mean of theirs.
    """
    features = vgg(normalize(painting)[None], LAYERS)
    means = [features[layer].mean((0, 1, 2)) for layer in LAYERS]
    squares = [jnp.square(features[layer]).mean((0, 1, 2)) for layer in LAYERS]
    return jnp.concatenate([*means, *squares]).astype(jnp.float32)


def style_statistics(moments: jax.Array) -> jax.Array:
    """Moments (..., D) as means and standard deviations (..., D)."""
    means, squares = jnp.split(moments, 2, axis=-1)
    return jnp.concatenate([means, jnp.sqrt(jnp.maximum(squares - jnp.square(means), 0))], -1)


class EqualizedLinear(nnx.Module):
    """Linear map whose weights are of variance 1, scaled when they are used.

    An optimizer with steps of one size for all weights, such as Adam, would otherwise move a sum over D inputs D times
    as far as an entry of a table.

    Source: equalized learning rate, Karras et al. 2018 (arXiv:1710.10196), section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, rngs: nnx.Rngs):
        """Builds the map; its outputs have the standard deviation `gain` for inputs of variance 1."""
        self.kernel = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.scale = gain / inputs**0.5

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., inputs) to (..., outputs)."""
        return self.scale * (x @ self.kernel[...]) + self.bias[...]


class StylePredictor(nnx.Module):
    """Style vectors from the moments of paintings, through a bottleneck that few paintings can fill.

    Source: the style prediction network of Ghiasi et al. 2017 (arXiv:1705.06830), on VGG statistics in place of an
    image.
    """

    def __init__(self, vector_size: int, *, rngs: nnx.Rngs):
        """Builds the network for style vectors of a size."""
        self.center = nnx.BatchStat(jnp.zeros(MOMENTS))
        self.spread = nnx.BatchStat(jnp.ones(MOMENTS))
        self.hidden = EqualizedLinear(MOMENTS, HIDDEN, rngs=rngs)
        self.bottleneck = EqualizedLinear(HIDDEN, BOTTLENECK, rngs=rngs)
        self.output = EqualizedLinear(BOTTLENECK, vector_size, gain=OUTPUT_GAIN, rngs=rngs)

    def __call__(self, moments: jax.Array) -> jax.Array:
        """Moments (..., D), see `style_moments`, to style vectors (..., V)."""
        statistics = (style_statistics(moments) - self.center[...]) / self.spread[...]
        statistics = jnp.clip(statistics, -MAX_STATISTIC, MAX_STATISTIC)
        return self.output(self.bottleneck(nnx.gelu(self.hidden(statistics))))


class AnyStylizer(nnx.Module):
    """A transfer network with a predictor in place of a table of style vectors: a fast model for any painting."""

    def __init__(self, *, width: int = 16, blocks: int = 6, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        """Builds the network; see `TransferNetwork`."""
        self.transfer = TransferNetwork(width=width, blocks=blocks, dtype=dtype, rngs=rngs)
        self.predictor = StylePredictor(self.transfer.vector_size, rngs=rngs)

    def __call__(self, images: jax.Array, masks: jax.Array, moments: jax.Array) -> jax.Array:
        """Stylized images (N, H, W, 3) in [0, 1].

        Args:
          images: (N, H, W, 3), normalized by `ops.image.normalize`.
          masks: (N, H, W, K) in [0, 1], sum 1 at every pixel.
          moments: (N, K, D), of the painting of each region.
        """
        return self.transfer(images, masks, self.predictor(moments))


def standardization(moments: Sequence[jax.Array] | jax.Array) -> tuple[jax.Array, jax.Array]:
    """The center and spread (D,) of the statistics of paintings with moments (P, D)."""
    statistics = style_statistics(jnp.asarray(moments))
    return statistics.mean(0), jnp.maximum(statistics.std(0), MIN_SPREAD)
