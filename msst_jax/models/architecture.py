"""Architectures of feed-forward models by name: the package's own, or one that is registered."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.serialization import parameter_shapes
from msst_jax.models.stylizer import Stylizer
from msst_jax.registry import ARCHITECTURE, STYLIZERS, call


def build_architecture(
    name: str, styles: int, training: Mapping[str, Any], *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
) -> nnx.Module:
    """A network with random weights, called like `Stylizer`.

    Args:
      name: `registry.ARCHITECTURE`, or as registered by `registry.register_stylizer`.
      styles: S, the number of styles.
      training: the config of the training; "width" and "blocks" determine the shape of the package's own.
      dtype: compute dtype.
      rngs: random keys of the weights.

    Raises:
      UserError: no such architecture, or its function fails or returns no `nnx.Module`.
    """
    if name == ARCHITECTURE:
        return Stylizer(styles, width=training["width"], blocks=training["blocks"], dtype=dtype, rngs=rngs)
    network = call(f"architecture {name}", STYLIZERS[name].build, styles, training, dtype, rngs)
    if not isinstance(network, nnx.Module):
        raise UserError(f"architecture {name}: build() returned {type(network).__name__}; let it return an nnx.Module")
    return network


def abstract_architecture(
    name: str, styles: int, training: Mapping[str, Any], dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    """As `build_architecture`, with shapes only."""
    return nnx.eval_shape(lambda: build_architecture(name, styles, training, dtype=dtype, rngs=nnx.Rngs(0)))


def style_axes(name: str, styles: int, training: Mapping[str, Any]) -> dict[str, int]:
    """{module path: axis} of the parameters that hold a slice for each style.

    They are those whose shape changes with the number of styles.

    Args:
      name: of the architecture.
      styles: S, the number of styles.
      training: see `build_architecture`.
    """
    shapes, larger = (parameter_shapes(abstract_architecture(name, count, training)) for count in (styles, styles + 1))
    return {
        path: next(axis for axis, size in enumerate(shape) if size != larger[path][axis])
        for path, shape in shapes.items()
        if path in larger and len(shape) == len(larger[path]) and shape != larger[path]
    }


def rearrange_styles(
    tensors: Mapping[str, np.ndarray], axes: Mapping[str, int], sources: list[int | None]
) -> dict[str, np.ndarray]:
    """Tensors for other styles: each takes the slices of an earlier one, or the mean of all.

    Args:
      tensors: {module path: array} of a model.
      axes: see `style_axes`.
      sources: for each style of the result that of the model; None = the mean.
    """

    def take(tensor: np.ndarray, axis: int) -> np.ndarray:
        mean = tensor.mean(axis)
        slices = [mean if source is None else tensor.take(source, axis) for source in sources]
        return np.stack(slices, axis)

    return {path: take(tensor, axes[path]) if path in axes else tensor for path, tensor in tensors.items()}
