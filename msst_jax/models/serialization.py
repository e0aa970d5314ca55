"""Reads and writes safetensors, and assigns tensors to Flax NNX modules with full checks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from msst_jax.errors import UserError
from msst_jax.io.files import check_regular_file, write_atomically
from msst_jax.io.remote import input_path

MODEL_FILE = "model.safetensors"  # the trained weights in a workdir of train.py
# The variables in a weights file; BatchNorm statistics are not nnx.Param.
WEIGHT_TYPES = (nnx.Param, nnx.BatchStat)
MAX_LISTED = 12  # problems of one kind in an error; a wrong file may have hundreds

Model = TypeVar("Model", bound=nnx.Module)


def weights_input(name: str, what: str) -> Path:
    """The path of a file of weights or of a workdir, of which only the file is copied from a bucket; see `input_path`.

    Raises:
      UserError: as `input_path`.
    """
    return input_path(name, what, file=MODEL_FILE)


def weights_path(name: str, what: str) -> Path:
    """The weights file of a workdir of train.py, or the path itself; it need not exist. From a bucket it is copied.

    Args:
      name: as the user gives it.
      what: names it in errors, such as "--model".

    Raises:
      UserError: as `input_path`.
    """
    path = weights_input(name, what)
    return path / MODEL_FILE if path.is_dir() else path


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file as float32.

    Raises:
      UserError: missing or damaged file, not a regular one, or values that are not finite.
    """
    check_regular_file(path, "weights")
    try:
        tensors = {name: np.asarray(value, np.float32) for name, value in load_file(path).items()}
    except FileNotFoundError:
        raise UserError(f"weights {path} do not exist; check the name") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights {path} are damaged ({error}); convert them again") from error
    if name := _first_nonfinite(tensors):
        raise UserError(f"weights {path} are not finite (the first: {name}); convert them again, or train again")
    return tensors


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes tensors as float16 safetensors, atomically.

    Raises:
      UserError: as `write_atomically`, or values that are not finite as float16.
    """
    with np.errstate(over="ignore"):
        half = {name: value.astype(np.float16) for name, value in tensors.items()}
    if name := _first_nonfinite(half):
        raise UserError(f"cannot write {path}: {name} is not finite, or too large for float16; give other weights")

    def write(temporary: Path) -> None:
        try:
            save_file(half, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # such as a full disk
            raise OSError(error) from error

    write_atomically(path, write)


def _first_nonfinite(tensors: Mapping[str, np.ndarray]) -> str:
    """The name of the first tensor with a NaN or an infinity; "" if there is none."""
    return next((name for name, value in tensors.items() if not np.all(np.isfinite(value))), "")


def parameter_shapes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """{module path: shape} of every parameter and BatchNorm statistic of a model."""
    return {
        _dotted_path(path): leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Any(*WEIGHT_TYPES)))
    }


def state_to_tensors(params: nnx.State) -> dict[str, np.ndarray]:
    """{module path: array} of a state of parameters, as in a weights file."""
    return {_dotted_path(path): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(params)}


def replace_leaves(state: nnx.State, tensors: Mapping[str, np.ndarray]) -> nnx.State:
    """A copy of the state in which `tensors` replace the leaves of the same module path.

    Raises:
      UserError: a name that is not a leaf, or a wrong shape.
    """
    leaves = dict(nnx.to_flat_state(state))
    shapes = {_dotted_path(path): leaf.shape for path, leaf in leaves.items() if _dotted_path(path) in tensors}
    if problems := mismatches(shapes, tensors):
        raise UserError(f"weights to start from do not fit: {'; '.join(problems)}; give others")
    replaced = {
        path: leaf.replace(jnp.asarray(tensors[_dotted_path(path)]))
        for path, leaf in leaves.items()
        if _dotted_path(path) in tensors
    }
    return nnx.from_flat_state({**leaves, **replaced})


def mismatches(shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Differences between `tensors` and the expected `shapes`, one sentence each; empty if there are none."""
    missing = [f"{name} is missing" for name in shapes if name not in tensors]
    unknown = [f"{name} is not part of the network" for name in tensors if name not in shapes]
    misshapen = [
        f"{name} has shape {tensors[name].shape}, expected {shape}"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    return truncate_problems(missing) + truncate_problems(unknown) + truncate_problems(misshapen)


def truncate_problems(problems: list[str]) -> list[str]:
    """The first MAX_LISTED problems of one kind, and the count of the others."""
    omitted = len(problems) - MAX_LISTED
    return [*problems[:MAX_LISTED], f"{omitted} more like this"] if omitted > 0 else problems


def assign_tensors(model: Model, tensors: Mapping[str, np.ndarray], origin: str) -> Model:
    """Assigns parameters and statistics to an abstract model (`nnx.eval_shape`); names and shapes must match exactly.

    Raises:
      UserError: lists the mismatches.
    """
    problems = mismatches(parameter_shapes(model), tensors)
    if problems:
        raise UserError(f"weights {origin} do not fit: {'; '.join(problems)}; convert them again")
    weights = nnx.to_pure_dict(nnx.state(model, nnx.Any(*WEIGHT_TYPES)))
    loaded = jax.tree.map_with_path(lambda path, _: jnp.asarray(tensors[dotted_key_path(path)]), weights)
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, loaded)
    return nnx.merge(nnx.graphdef(model), state)


def _dotted_path(path: Sequence[object]) -> str:
    return ".".join(str(part) for part in path)


def dotted_key_path(path: Sequence[object]) -> str:
    """The module path of a leaf, such as conv1_1.kernel, from its path in a pytree of parameters."""
    return ".".join(str(getattr(part, "key", part)) for part in path)
