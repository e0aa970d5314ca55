"""VGG-16 as a DeepLab-V3 backbone: frozen layers up to relu4_3 with low-rank adapters, then a low-rank conv5.

The three layers of conv5 would take 14 MB in float16; factored into two kernels, the inner one with RANK channels, they
take 4 MB (Jaderberg et al. 2014, arXiv:1405.3866). The trained part of conv4 is a low-rank product too, added to the
output of the embedded layer (Hu et al. 2021, arXiv:2106.09685): 0.2 MB, and the losses keep their VGG-16.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.layers import Conv, ConvNorm
from msst_jax.models.vgg import VGG
from msst_jax.ops.pooling import max_pool

NETWORK = "vgg16"
EMBEDDED_OUTPUT = "relu4_3"  # the last layer of the embedded VGG-16
ADAPTED = ("conv4_1", "conv4_2", "conv4_3")
BEFORE_ADAPTED = "pool3"
ADAPTER_RANK = 8
LOW_RANK = ("conv5_1", "conv5_2", "conv5_3")
OUTPUT_STRIDE = 16
CHANNELS = 512
RANK = 128
REDUCED = 128


class LowRankConv(nnx.Module):
    """A rank-factored 3x3 convolution: 3x3 to `rank` channels, then 1x1 with bias to 512."""

    def __init__(self, inputs: int, rank: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inner = Conv(inputs, rank, 3, bias=False, dtype=dtype, rngs=rngs)
        self.outer = Conv(rank, CHANNELS, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, inputs) to (N, H, W, 512)."""
        return self.outer(self.inner(x))


class LowRankVGG(nnx.Module):
    """VGG-16 up to relu5_3. The weights of `embedded` are frozen, and not in the file of the trained ones."""

    channels = REDUCED

    def __init__(self, *, output_stride: int, dtype: DTypeLike, rngs: nnx.Rngs):
        """Builds the backbone; UserError unless the output stride is 16."""
        if output_stride != OUTPUT_STRIDE:
            raise UserError(f"output_stride is {output_stride}; {NETWORK} as a backbone has {OUTPUT_STRIDE}")
        self.embedded = VGG(NETWORK, deepest=EMBEDDED_OUTPUT, dtype=dtype, rngs=rngs)
        inputs = CHANNELS // 2
        for name in ADAPTED:
            adapter = LowRankConv(inputs, ADAPTER_RANK, dtype=dtype, rngs=rngs)
            adapter.outer.kernel[...] = jnp.zeros_like(adapter.outer.kernel)  # initially the adapter adds nothing
            setattr(self, f"{name}_change", adapter)
            inputs = CHANNELS
        for name in LOW_RANK:
            setattr(self, name, LowRankConv(CHANNELS, RANK, dtype=dtype, rngs=rngs))
        self.reduce = ConvNorm(CHANNELS, REDUCED, 1, dtype=dtype, rngs=rngs)

    def blocks(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """relu4_3 at stride 8, then conv5_1 to conv5_3 (after their ReLU) at stride 16, 512 channels; "reduced", 128.

        Args:
          x: normalized images (N, H, W, 3).
        """
        x = self.embedded(x, (BEFORE_ADAPTED,))[BEFORE_ADAPTED]
        for name in ADAPTED:
            x = nnx.relu(getattr(self.embedded, name)(x) + getattr(self, f"{name}_change")(x))
        yield EMBEDDED_OUTPUT, x
        x = max_pool(x)
        for name in LOW_RANK:
            x = nnx.relu(getattr(self, name)(x))
            yield name, x
        yield "reduced", nnx.relu(self.reduce(x))


def low_rank_factors(kernel: np.ndarray, rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
    """The best rank-`rank` factorization of a kernel (k, k, I, O): (k, k, I, rank) and (1, 1, rank, O).

    By a truncated singular value decomposition of the kernel as a matrix (k*k*I, O); each factor takes the square
    root of every singular value.
    """
    size, _, inputs, outputs = kernel.shape
    left, values, right = np.linalg.svd(kernel.reshape(-1, outputs).astype(np.float64), full_matrices=False)
    roots = np.sqrt(values[:rank])
    inner = (left[:, :rank] * roots).reshape(size, size, inputs, rank)
    return inner.astype(np.float32), (roots[:, None] * right[:rank])[None, None].astype(np.float32)
