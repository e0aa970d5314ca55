"""Saving and loading trained feed-forward models: weights plus the names of their regions and styles."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UserError
from msst_jax.io.files import check_regular_file
from msst_jax.models.pretrained import ASSETS
from msst_jax.models.serialization import assign_tensors, read_tensors, save_tensors, state_to_tensors, weights_path
from msst_jax.models.stylizer import Stylizer

BUILTIN = "builtin"
BUILTIN_FILE = ASSETS / "stylizer_builtin.safetensors"


class FeedforwardModel(NamedTuple):
    """A trained stylizer with the names of its regions and styles."""

    network: Stylizer
    regions: tuple[str, ...]
    """One per style, in order."""
    styles: tuple[str, ...]
    """Names of the style files."""
    path: Path
    training: dict[str, Any]
    """The config it was trained with."""


def save_feedforward(
    path: Path, training: Mapping[str, Any], regions: Sequence[str], styles: Sequence[str], params: nnx.State
) -> None:
    """Writes parameters as float16 safetensors, atomically; the metadata describes the model.

    Args:
      path: the file.
      training: the config of the training; "width" and "blocks" determine the shape of the network.
      regions: names, one per style.
      styles: names of the style files.
      params: of the network.

    Raises:
      UserError: unwritable place.
    """
    metadata = {"network": "stylizer", "regions": list(regions), "styles": list(styles), "config": dict(training)}
    save_tensors(path, state_to_tensors(params), {"msst_jax": json.dumps(metadata)})


def find_feedforward(name: str) -> Path:
    """The weights file of "builtin", of a workdir of train.py, or a path to one.

    Raises:
      UserError: the file does not exist, or is no regular file.
    """
    path = BUILTIN_FILE if name == BUILTIN else weights_path(name, "--model")
    if not path.exists():
        raise UserError(f"--model {name}: {path} does not exist; give a --workdir of train.py, or {BUILTIN}")
    check_regular_file(path, "--model")
    return path


def load_feedforward(name: str, dtype: DTypeLike = jnp.float32) -> FeedforwardModel:
    """Loads a trained feed-forward model; for `name` see `find_feedforward`.

    Raises:
      UserError: a file that is missing, damaged, or not a feed-forward model.
    """
    path = find_feedforward(name)
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("msst_jax", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"--model {name}: {path} is damaged ({error}); export it again or train again") from error
    if metadata.get("network") != "stylizer":
        raise UserError(f"--model {name}: {path} is not a fast model; give a model that train.py wrote")
    training, regions = metadata["config"], tuple(metadata["regions"])
    network = nnx.eval_shape(
        lambda: Stylizer(
            len(regions), width=training["width"], blocks=training["blocks"], dtype=dtype, rngs=nnx.Rngs(0)
        )
    )
    network = assign_tensors(network, read_tensors(path), str(path))
    return FeedforwardModel(network, regions, tuple(metadata["styles"]), path, training)
