"""Saving and loading trained feed-forward models: weights plus the names of their regions and styles."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UnknownNameError, UserError
from msst_jax.io.files import check_regular_file
from msst_jax.models.architecture import abstract_architecture
from msst_jax.models.pretrained import ASSETS
from msst_jax.models.serialization import assign_tensors, read_tensors, save_tensors, state_to_tensors, weights_path
from msst_jax.registry import ARCHITECTURE, IMPORT_HINT, STYLIZERS

BUILTIN = "builtin"
BUILTIN_FILE = ASSETS / "stylizer_builtin.safetensors"


class FeedforwardModel(NamedTuple):
    """A trained stylizer with the names of its regions and styles."""

    network: nnx.Module
    """Called like `Stylizer`."""
    regions: tuple[str, ...]
    """One per style, in order."""
    styles: tuple[str, ...]
    """Names of the style files."""
    path: Path
    training: dict[str, Any]
    """The config it was trained with."""
    architecture: str = ARCHITECTURE


def save_feedforward(
    path: Path,
    training: Mapping[str, Any],
    regions: Sequence[str],
    styles: Sequence[str],
    params: nnx.State,
    *,
    architecture: str = ARCHITECTURE,
) -> None:
    """Writes parameters as float16 safetensors, atomically; the metadata describes the model.

    Args:
      path: the file.
      training: the config of the training; "width" and "blocks" determine the shape of the network.
      regions: names, one per style.
      styles: names of the style files.
      params: of the network.
      architecture: its name, see `build_architecture`.

    Raises:
      UserError: unwritable place.
    """
    metadata = {"network": architecture, "regions": list(regions), "styles": list(styles), "config": dict(training)}
    save_tensors(path, state_to_tensors(params), {"msst_jax": json.dumps(metadata)})


def find_feedforward(name: str, what: str = "--model") -> Path:
    """The weights file of "builtin", of a registered stylizer, of a workdir of train.py, or a path to one.

    Raises:
      UserError: the file does not exist, or is no regular file; or a stylizer that is registered without weights.
    """
    path = _named_file(name, what)
    if not path.exists():
        raise UnknownNameError(
            f"{what} {name}: {path} does not exist; give a --workdir of train.py, or {BUILTIN}; {IMPORT_HINT}"
        )
    check_regular_file(path, what)
    return path


def _named_file(name: str, what: str) -> Path:
    if name == BUILTIN:
        return BUILTIN_FILE
    if name not in STYLIZERS:
        return weights_path(name, what)
    path = STYLIZERS[name].weights
    if path is None:
        raise UserError(
            f"{what} {name} is an architecture without weights; give a --workdir of train.py --config.architecture="
            f"{name}, or register it with weights=FILE"
        )
    return path


def load_feedforward(name: str, dtype: DTypeLike = jnp.float32, *, what: str = "--model") -> FeedforwardModel:
    """Loads a trained feed-forward model.

    Args:
      name: see `find_feedforward`.
      dtype: compute dtype.
      what: names it in errors.

    Raises:
      UserError: a file that is missing, damaged, not a feed-forward model, or of an architecture that is not there.
    """
    path = find_feedforward(name, what)
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("msst_jax", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{what} {name}: {path} is damaged ({error}); export it again or train again") from error
    architecture = metadata.get("network")
    if not architecture or "regions" not in metadata:
        raise UserError(f"{what} {name}: {path} is not a fast model; give a model that train.py wrote")
    if architecture != ARCHITECTURE and architecture not in STYLIZERS:
        others = STYLIZERS.alternatives(architecture)
        raise UnknownNameError(f"{what} {name} is of the architecture {architecture!r}, which is not there; {others}")
    training, regions = metadata["config"], tuple(metadata["regions"])
    network = abstract_architecture(architecture, len(regions), training, dtype)
    network = assign_tensors(network, read_tensors(path), str(path))
    return FeedforwardModel(network, regions, tuple(metadata["styles"]), path, training, architecture)
