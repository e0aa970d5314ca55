"""How exactly a run computes; parameters, statistics, Gram matrices and every other sum stay float32.

What a setting says of products acts on whatever is traced within `products_at`: gradients too, see `ops.linear_map`.
Products of a few statistics ask for the highest precision themselves, since that costs nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

COMPUTE_DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Precision(NamedTuple):
    """A setting.

    Attributes:
      dtype: name of the type of features, see `compute_dtype`.
      products: as `jax.default_matmul_precision` takes it; None = JAX's own setting. Unless the user has changed that,
        a GPU then rounds the factors of float32 products to TF32, a TPU to bfloat16, and a CPU not at all.
    """

    dtype: str
    products: str | None


PRECISIONS = {
    "highest": Precision("float32", "highest"),
    "default": Precision("float32", None),
    "bfloat16": Precision("bfloat16", None),
}
"""Values of config.precision."""


def compute_dtype(name: str) -> DTypeLike:
    """ "float32" or "bfloat16" as a type."""
    return COMPUTE_DTYPES[name]


def products_at(precision: str) -> AbstractContextManager[None]:
    """The block computes products of matrices, and convolutions, as a value of config.precision says.

    It holds for this thread and for those that `prefetch` starts in it.
    """
    products = PRECISIONS[precision].products
    return nullcontext() if products is None else jax.default_matmul_precision(products)
