"""Finds and loads pretrained weights (safetensors; names are module paths such as conv1_1.kernel)."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UserError
from msst_jax.io.files import check_regular_file
from msst_jax.io.paths import user_path
from msst_jax.models.deeplab import LITE_NETWORK, PERSON_NETWORK, DeepLabV3, check_known
from msst_jax.models.serialization import assign_tensors, read_tensors
from msst_jax.models.vgg import VGG, deepest_tap, tap_names
from msst_jax.models.voc import CLASSES

CONVERT = "python -m msst_jax.convert_weights"  # in a clone also `python -m convert_weights`
ASSETS = Path(__file__).parent.parent / "assets"
EMBEDDED_VGG16 = ASSETS / "vgg16_relu4_3.safetensors"
EMBEDDED_DEEPEST = "relu4_3"
EMBEDDED_PERSON = ASSETS / f"{PERSON_NETWORK}.safetensors"
EMBEDDED_SEGMENTERS = {LITE_NETWORK: ASSETS / f"{LITE_NETWORK}.safetensors", PERSON_NETWORK: EMBEDDED_PERSON}
CLASSES_KEY = "classes"  # of the metadata of a segmenter's weights file: their names, joined by commas
EMBEDDED_PREFIX = "backbone.embedded."  # of the person segmenter's weights that are the losses' VGG-16


def weights_folder() -> Path:
    """The folder of converted weights: $MSST_WEIGHTS, or ~/.cache/msst_jax."""
    return user_path(os.environ.get("MSST_WEIGHTS") or Path.home() / ".cache" / "msst_jax", "MSST_WEIGHTS")


def converted_path(name: str) -> Path:
    """The file that `python -m msst_jax.convert_weights NAME` writes."""
    return weights_folder() / f"{name}.safetensors"


def find_vgg(name: str, deepest: str) -> Path:
    """The weights file of a VGG: the converted one if it exists, else the one embedded in the package.

    Raises:
      UserError: neither has the layers; names the `convert_weights` command to run.
    """
    required = tap_names(name, deepest)
    converted = converted_path(name)
    embedded = name == "vgg16" and len(required) <= len(tap_names(name, EMBEDDED_DEEPEST))
    if converted.exists() and not (embedded and not _has_layers(converted, required)):
        return converted
    if embedded:
        return EMBEDDED_VGG16
    raise UserError(
        f"weights of {name} up to {deepest} are not in {weights_folder()}: run `{CONVERT} {name}` "
        f"(vgg16 up to {EMBEDDED_DEEPEST} is embedded and needs no download)"
    )


def _has_layers(path: Path, taps: Sequence[str]) -> bool:
    """Whether a weights file has every convolution among `taps`; True for a damaged one, which fails when loaded."""
    check_regular_file(path, "weights")
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
    """A VGG with its weights, cut after the deepest of `taps`.

    Args:
      name: "vgg16" or "vgg19".
      taps: the layers whose features are needed.
      pooling: "max" or "average".
      padding: "zeros" or "replicate"; see `VGG`.
      dtype: compute dtype, float32 or bfloat16, or float64 if JAX has it enabled.
      path: a weights file; None for that of `find_vgg`.

    Returns:
      The network and the path of its weights file.

    Raises:
      UserError: unknown names, or weights missing, damaged or of another network.
    """
    deepest = deepest_tap(name, taps)
    path = path or find_vgg(name, deepest)
    model = nnx.eval_shape(
        lambda: VGG(name, deepest=deepest, pooling=pooling, padding=padding, dtype=dtype, rngs=nnx.Rngs(0))
    )
    deeper = {tap for tap in tap_names(name)} - set(model.taps)
    tensors = {key: value for key, value in read_tensors(path).items() if key.split(".")[0] not in deeper}
    return assign_tensors(model, tensors, str(path)), path


def load_deeplab(
    name: str,
    *,
    output_stride: int | None = None,
    dtype: DTypeLike = jnp.float32,
    path: Path | None = None,
    classes: Sequence[int] | None = None,
) -> tuple[DeepLabV3, Path]:
    """A DeepLab-V3 with its weights.

    Args:
      name: one of `deeplab.SEGMENTERS`.
      output_stride: 8 or 16; None for the one that the weights were trained at.
      dtype: compute dtype, float32 or bfloat16.
      path: a weights file; None for the one in the package, or the one that `convert_weights` writes.
      classes: see `DeepLabV3`; None for those that the file names, if it does.

    Returns:
      The network and the path of its weights file.

    Raises:
      UserError: unknown names, or weights missing (names the command to run), damaged, of another network, or of
        other classes than `classes`.
    """
    check_known(name)
    if name in EMBEDDED_SEGMENTERS:
        path = path or default_weights(name)
    tensors = read_tensors(path) if path else {}
    stored = stored_classes(path) if path else None
    if classes and stored and tuple(classes) != stored:
        raise UserError(
            f"weights {path} are of the classes {_class_names(stored)}, expected {_class_names(classes)}; give the "
            "former as config.classes, in their order, or another config.start"
        )
    found = classes or stored
    model = nnx.eval_shape(
        lambda: DeepLabV3(name, classes=found, output_stride=output_stride, dtype=dtype, rngs=nnx.Rngs(0))
    )
    if path is None:  # looked for last: what is wrong with the other arguments is the same on any machine
        path = default_weights(name)
        tensors = read_tensors(path)
    if name == PERSON_NETWORK:
        tensors = {**embedded_vgg_tensors(), **tensors}
    return assign_tensors(model, tensors, str(path)), path


def _class_names(classes: Sequence[int]) -> str:
    """ "cat, person": all but the background."""
    return ", ".join(CLASSES[index] for index in classes if index)


def default_weights(name: str) -> Path:
    """The file of a segmenter's weights in the package, or the one that `convert_weights` writes.

    Raises:
      UserError: there is none; names the command to run.
    """
    embedded = EMBEDDED_SEGMENTERS.get(name)
    path = embedded or converted_path(name)
    if path.exists():
        return path
    if embedded:
        raise UserError(f"weights of {name} are not in the package; give a workdir of train.py, or its weights file")
    raise UserError(f"weights of {name} are not in {weights_folder()}: run `{CONVERT} {name}`")


def stored_classes(path: Path) -> tuple[int, ...] | None:
    """The classes of a segmenter's weights file, as indices of `voc.CLASSES`; None if it does not name them.

    Raises:
      UserError: a class that is not of VOC.
    """
    with safe_open(path, "numpy") as file:
        names = (file.metadata() or {}).get(CLASSES_KEY)
    if names is None:
        return None
    if unknown := {*names.split(",")} - {*CLASSES}:
        raise UserError(f"weights {path} are of the class {min(unknown)}, which is not of VOC; train them again")
    return tuple(map(CLASSES.index, names.split(",")))


def load_person_segmenter(path: Path = EMBEDDED_PERSON, dtype: DTypeLike = jnp.float32) -> DeepLabV3:
    """The person segmenter: the embedded VGG-16 and the weights trained on top of it.

    Raises:
      UserError: weights missing, damaged or of another network.
    """
    return load_deeplab(PERSON_NETWORK, dtype=dtype, path=path)[0]


def embedded_vgg_tensors() -> dict[str, np.ndarray]:
    """The person segmenter's weights that are the embedded VGG-16, {module path: array}."""
    return {f"{EMBEDDED_PREFIX}{name}": value for name, value in read_tensors(EMBEDDED_VGG16).items()}
