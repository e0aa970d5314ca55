"""The networks of the losses."""

import os
from collections.abc import Sequence

from msst_jax.api.pictures import given_path
from msst_jax.errors import UserError, nearest_or_all
from msst_jax.models import pretrained
from msst_jax.models.precision import COMPUTE_DTYPES
from msst_jax.models.vgg import BLOCKS, PADDINGS, POOLINGS, VGG, tap_names


def load_vgg(
    name: str = "vgg16",
    layers: Sequence[str] = ("relu4_3",),
    *,
    pooling: str = "max",
    padding: str = "zeros",
    dtype: str = "float32",
    weights: str | os.PathLike[str] | None = None,
) -> VGG:
    """A VGG with pretrained weights, as deep as the deepest of its layers.

    `vgg(images, layers)` gives {layer: features (N, H', W', C)} of images (N, H, W, 3), which are normalized before:
    `msst_jax.ops.image.normalize` takes them in [0, 1]. It can be jitted, differentiated and vmapped, and be an
    argument of such functions.

    Args:
      name: "vgg16" or "vgg19".
      layers: such as "conv1_1", "relu3_1", "pool2"; up to relu4_3 the weights of VGG-16 are in the package.
      pooling: "max" or "average".
      padding: of the first convolution, "zeros" as in torchvision, or "replicate".
      dtype: of the computation, "float32" or "bfloat16".
      weights: a safetensors file; None = converted weights if there are any, else those in the package.

    Returns:
      The network, a pytree of its weights.

    Raises:
      UserError: (a ValueError) an unknown name, or weights that are missing (says how to get them) or damaged.
    """
    _check_choice(name, BLOCKS, "name")
    if isinstance(layers, str):
        raise UserError(f"layers is the text {layers!r}; give a list, [{layers!r}]")
    for layer in layers:
        _check_choice(layer, tap_names(name), "layers")
    for value, choices, what in ((pooling, POOLINGS, "pooling"), (padding, PADDINGS, "padding")):
        _check_choice(value, choices, what)
    _check_choice(dtype, COMPUTE_DTYPES, "dtype")
    path = None if weights is None else given_path(weights, "weights")
    kind = COMPUTE_DTYPES[dtype]
    return pretrained.load_vgg(name, layers, pooling=pooling, padding=padding, dtype=kind, path=path)[0]


def _check_choice(value: str, choices: Sequence[str] | dict, what: str) -> None:
    if value not in choices:
        raise UserError(f"{what} has {value!r}; {nearest_or_all(str(value), choices)}")
