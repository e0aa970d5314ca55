"""Saving and loading trained feed-forward models: weights plus the names of their regions and styles."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UnknownNameError, UserError, nearest_or_all
from msst_jax.io.files import check_regular_file
from msst_jax.models.architecture import abstract_architecture
from msst_jax.models.pretrained import ASSETS
from msst_jax.models.serialization import assign_tensors, read_tensors, save_tensors, state_to_tensors, weights_path
from msst_jax.models.style_predictor import AnyStylizer
from msst_jax.registry import ARCHITECTURE, IMPORT_HINT, STYLIZERS

BUILTIN = "builtin"
ANY = "any"
MORE_PAIRS = ("kandinsky_wave", "starry_wheat")
"""Named by the painting of the person and that of the background."""
BUILTIN_FILES = {name: ASSETS / f"stylizer_{name}.safetensors" for name in (BUILTIN, ANY, *MORE_PAIRS)}
ANY_NETWORK = "any_stylizer"
"""The architecture of a model for any painting, which has no regions until it has paintings."""
EARLIER_NETWORK = "stylizer"
"""The architecture of earlier versions, which made one picture for each style."""


class FeedforwardModel(NamedTuple):
    """A trained stylizer with the names of its regions and styles."""

    network: nnx.Module
    """Called like `Stylizer`; an `AnyStylizer` if the model is for any painting."""
    regions: tuple[str, ...]
    """One per style, in order; none if the model is for any painting."""
    styles: tuple[str, ...]
    """Names of the style files."""
    path: Path
    training: dict[str, Any]
    """The config it was trained with."""
    architecture: str = ARCHITECTURE

    @property
    def for_any_painting(self) -> bool:
        """Whether its styles are still to be given; see `any_model.with_paintings`."""
        return self.architecture == ANY_NETWORK


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
    config = without_folders(training)
    metadata = {"network": architecture, "regions": list(regions), "styles": list(styles), "config": config}
    save_tensors(path, state_to_tensors(params), {"msst_jax": json.dumps(metadata)})


def without_folders(training: Mapping[str, Any]) -> dict[str, Any]:
    """A training config whose paths are names: a model that is passed on tells nothing of where it was made."""
    paths = {name: Path(training[name]).name for name in ("start", "segmenter") if training.get(name)}
    folders = {"paintings": [Path(folder).name for folder in training["paintings"]]} if "paintings" in training else {}
    return {**training, **paths, **folders}


def find_feedforward(name: str, what: str = "--model") -> Path:
    """The weights file of "builtin", of a registered stylizer, of a workdir of train.py, or a path to one.

    Raises:
      UserError: the file does not exist, or is no regular file; or a stylizer that is registered without weights.
    """
    path = _named_file(name, what)
    if not path.exists():
        *first, last = BUILTIN_FILES
        every = f"give a --workdir of train.py, or {', '.join(first)} or {last}"
        meant = nearest_or_all(name, [*BUILTIN_FILES, *STYLIZERS.names], every)
        raise UnknownNameError(f"{what} {name}: {path} does not exist; {meant}; {IMPORT_HINT}")
    check_regular_file(path, what)
    return path


def _named_file(name: str, what: str) -> Path:
    if name in BUILTIN_FILES:
        return BUILTIN_FILES[name]
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
    metadata = _read_metadata(path, f"{what} {name}")
    architecture = metadata["network"]
    training, regions = metadata["config"], tuple(metadata["regions"])
    network = _abstract_network(architecture, len(regions), training, dtype)
    network = assign_tensors(network, read_tensors(path), str(path))
    return FeedforwardModel(network, regions, tuple(metadata["styles"]), path, training, architecture)


def is_for_any_painting(name: str, what: str = "--model") -> bool:
    """Whether a model, see `find_feedforward`, needs paintings; UserError as `load_feedforward`."""
    return bool(_read_metadata(find_feedforward(name, what), f"{what} {name}")["network"] == ANY_NETWORK)


def _read_metadata(path: Path, named: str) -> dict[str, Any]:
    """What a file says about its model.

    Raises:
      UserError: it is damaged, not a feed-forward model, of an earlier version or of an unknown architecture.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("msst_jax", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{named}: {path} is damaged ({error}); export it again or train again") from error
    architecture = metadata.get("network")
    if not architecture or "regions" not in metadata:
        raise UserError(f"{named}: {path} is not a fast model; give a model that train.py wrote")
    if architecture == EARLIER_NETWORK:
        raise UserError(
            f"{named}: {path} is of an earlier version, which made one picture for each style; train again, in "
            f"minutes with --config.start={ANY}"
        )
    if architecture not in (ARCHITECTURE, ANY_NETWORK) and architecture not in STYLIZERS:
        others = STYLIZERS.alternatives(architecture)
        raise UnknownNameError(f"{named} is of the architecture {architecture!r}, which is not there; {others}")
    return dict(metadata)


def _abstract_network(architecture: str, styles: int, training: Mapping[str, Any], dtype: DTypeLike) -> nnx.Module:
    if architecture != ANY_NETWORK:
        return abstract_architecture(architecture, styles, training, dtype)
    shape = {"width": training["width"], "blocks": training["blocks"]}
    return nnx.eval_shape(lambda: AnyStylizer(**shape, dtype=dtype, rngs=nnx.Rngs(0)))
