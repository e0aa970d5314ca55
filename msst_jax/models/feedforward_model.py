"""A trained feed-forward stylizer as a file: network, regions and styles."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UserError
from msst_jax.models.pretrained import ASSETS
from msst_jax.models.serialization import MODEL_FILE, assign_tensors, read_tensors, save_tensors, state_to_tensors
from msst_jax.models.stylizer import Stylizer
from msst_jax.presets.validation import compute_dtype
from msst_jax.training.task import Params

BUILTIN = "builtin"
BUILTIN_FILE = ASSETS / "stylizer_builtin.safetensors"


class FeedforwardModel(NamedTuple):
    """A trained network, and what its styles are for."""

    network: Stylizer
    regions: tuple[str, ...]
    """One for each style, in order."""
    styles: tuple[str, ...]
    """Names of the style files."""
    path: Path
    training: dict[str, Any]
    """The config it was trained with."""


def build_stylizer(config: ConfigDict, styles: int, rngs: nnx.Rngs) -> Stylizer:
    """The network that a config asks for."""
    return Stylizer(styles, width=config.width, blocks=config.blocks, dtype=compute_dtype(config.dtype), rngs=rngs)


def save_feedforward(
    path: Path, config: ConfigDict, regions: Sequence[str], styles: Sequence[str], params: Params
) -> None:
    """Writes parameters as float16 safetensors, whole or not at all; the metadata tells what they are.

    Args:
      path: the file.
      config: that of the training.
      regions: names, one for each style.
      styles: names of the style files.
      params: of the network.

    Raises:
      UserError: unwritable place.
    """
    made = {"network": "stylizer", "regions": list(regions), "styles": list(styles), "config": config.to_dict()}
    save_tensors(path, state_to_tensors(params), {"msst_jax": json.dumps(made)})


def find_feedforward(name: str) -> Path:
    """The weights of "builtin", of a workdir of train.py, or of a file.

    Raises:
      UserError: there are none.
    """
    path = BUILTIN_FILE if name == BUILTIN else Path(name).expanduser()
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"--model {name}: there is no {path}; give a --workdir of train.py, or {BUILTIN}")
    return path


def load_feedforward(name: str, dtype: DTypeLike = jnp.float32) -> FeedforwardModel:
    """A trained fast model; see `find_feedforward`.

    Raises:
      UserError: missing, damaged, or no fast model.
    """
    path = find_feedforward(name)
    try:
        with safe_open(path, "numpy") as file:
            made = json.loads((file.metadata() or {}).get("msst_jax", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"--model {name}: {path} is damaged ({error}); export it again or train again") from error
    if made.get("network") != "stylizer":
        raise UserError(f"--model {name}: {path} is no fast model; give what train.py wrote")
    config, regions = made["config"], tuple(made["regions"])
    network = nnx.eval_shape(
        lambda: Stylizer(len(regions), width=config["width"], blocks=config["blocks"], dtype=dtype, rngs=nnx.Rngs(0))
    )
    return FeedforwardModel(
        assign_tensors(network, read_tensors(path), str(path)), regions, tuple(made["styles"]), path, config
    )
