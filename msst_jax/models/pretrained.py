"""Finds and loads frozen weights (safetensors; names are module paths such as conv1_1.kernel)."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UserError
from msst_jax.models.deeplab import PERSON_NETWORK, DeepLabV3
from msst_jax.models.serialization import assign_tensors, read_tensors
from msst_jax.models.vgg import VGG, deepest_tap, tap_names

ASSETS = Path(__file__).parent.parent / "assets"
EMBEDDED_VGG16 = ASSETS / "vgg16_relu4_3.safetensors"
EMBEDDED_DEEPEST = "relu4_3"
EMBEDDED_PERSON = ASSETS / f"{PERSON_NETWORK}.safetensors"
EMBEDDED_PREFIX = "backbone.embedded."  # begins the names of what the person segmenter shares with the losses


def weights_folder() -> Path:
    """Where converted weights lie: $MSST_WEIGHTS, or ~/.cache/msst_jax."""
    return Path(os.environ.get("MSST_WEIGHTS") or Path.home() / ".cache" / "msst_jax").expanduser()


def converted_path(name: str) -> Path:
    """The file that `python -m convert_weights NAME` writes."""
    return weights_folder() / f"{name}.safetensors"


def find_vgg(name: str, deepest: str) -> Path:
    """The weights of a VGG: converted ones where they are, else those embedded in the package.

    Raises:
      UserError: tells the `convert_weights` command that makes what is missing.
    """
    wanted = tap_names(name, deepest)
    converted = converted_path(name)
    embedded = name == "vgg16" and len(wanted) <= len(tap_names(name, EMBEDDED_DEEPEST))
    if converted.exists() and not (embedded and not _has_layers(converted, wanted)):
        return converted
    if embedded:
        return EMBEDDED_VGG16
    raise UserError(
        f"weights of {name} up to {deepest} are not in {weights_folder()}: run `python -m convert_weights {name}` "
        f"(vgg16 up to {EMBEDDED_DEEPEST} is embedded and needs no download)"
    )


def _has_layers(path: Path, taps: Sequence[str]) -> bool:
    """Whether a weights file has every convolution among `taps`; of a damaged one, reading it will tell."""
    try:
        with safe_open(path, "numpy") as file:
            names = set(file.keys())
    except (SafetensorError, OSError):
        return True
    return all(f"{tap}.kernel" in names for tap in taps if tap.startswith("conv"))


def load_vgg(
    name: str,
    taps: Sequence[str],
    *,
    pooling: str = "max",
    padding: str = "zeros",
    dtype: DTypeLike = jnp.float32,
    path: Path | None = None,
) -> tuple[VGG, Path]:
    """A VGG with its weights, as deep as the deepest of `taps`.

    Args:
      name: "vgg16" or "vgg19".
      taps: the layers that will be asked for.
      pooling: "max" or "average".
      padding: "zeros" or "replicate"; see `VGG`.
      dtype: type of the computation, float32 or bfloat16.
      path: a weights file; None looks where `find_vgg` looks.

    Returns:
      The network and the file its weights came from.

    Raises:
      UserError: unknown names, or weights missing, damaged or not fitting.
    """
    deepest = deepest_tap(name, taps)
    path = path or find_vgg(name, deepest)
    model = nnx.eval_shape(
        lambda: VGG(name, deepest=deepest, pooling=pooling, padding=padding, dtype=dtype, rngs=nnx.Rngs(0))
    )
    wanted = set(model.taps)
    deeper = {tap for tap in tap_names(name)} - wanted
    tensors = {key: value for key, value in read_tensors(path).items() if key.split(".")[0] not in deeper}
    return assign_tensors(model, tensors, str(path)), path


def load_deeplab(
    name: str, *, output_stride: int | None = None, dtype: DTypeLike = jnp.float32, path: Path | None = None
) -> tuple[DeepLabV3, Path]:
    """A DeepLab-V3 with its weights.

    Args:
      name: one of `deeplab.SEGMENTERS`.
      output_stride: 8 or 16; None for what the weights were trained at.
      dtype: type of the computation, float32 or bfloat16.
      path: a weights file; None for the one that `convert_weights` writes.

    Returns:
      The network and the file its weights came from.

    Raises:
      UserError: unknown names, or weights missing (tells the command that makes them), damaged or not fitting.
    """
    if name == PERSON_NETWORK:
        path = path or EMBEDDED_PERSON
        return load_person_segmenter(path, dtype), path
    model = nnx.eval_shape(lambda: DeepLabV3(name, output_stride=output_stride, dtype=dtype, rngs=nnx.Rngs(0)))
    if path is None:
        path = converted_path(name)
        if not path.exists():
            raise UserError(f"weights of {name} are not in {weights_folder()}: run `python -m convert_weights {name}`")
    return assign_tensors(model, read_tensors(path), str(path)), path


def load_person_segmenter(path: Path = EMBEDDED_PERSON, dtype: DTypeLike = jnp.float32) -> DeepLabV3:
    """The person segmenter: the embedded VGG-16 with what was learned on top of it.

    Raises:
      UserError: weights that are missing, damaged or not fitting.
    """
    model = nnx.eval_shape(lambda: DeepLabV3(PERSON_NETWORK, dtype=dtype, rngs=nnx.Rngs(0)))
    return assign_tensors(model, {**embedded_vgg_tensors(), **read_tensors(path)}, str(path))


def embedded_vgg_tensors() -> dict[str, np.ndarray]:
    """The part of the person segmenter that is the embedded VGG-16, {module path: array}."""
    return {f"{EMBEDDED_PREFIX}{name}": value for name, value in read_tensors(EMBEDDED_VGG16).items()}
