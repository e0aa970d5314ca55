"""Converts a torchvision state dict to msst_jax tensors: renames keys, transposes kernels, casts, validates."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.models.serialization import truncate_problems

from .networks import Network, Shapes
from .pth.texts import shown

OIHW_TO_HWIO = (2, 3, 1, 0)


def convert(
    state: Mapping[str, np.ndarray], network: Network, *, deepest: str | None, dtype: DTypeLike, origin: str
) -> dict[str, np.ndarray]:
    """Renames, transposes and casts; first checks the complete network for missing and for unexpected keys.

    Args:
      state: torchvision's state dict, float32.
      network: entry of `NETWORKS`.
      deepest: the last layer to keep; None for all.
      dtype: of the result, float32 or float16.
      origin: where the state dict came from, for error messages.

    Returns:
      {module path: array}, kernels HWIO.

    Raises:
      UserError: lists keys that are missing, unknown, of the wrong shape or not finite; long lists are truncated.
    """
    kept = network.shapes(deepest)
    problems = find_problems(state, network)
    tensors = {
        path: _cast(to_flax(state[key]), dtype)
        for key, path in network.keys.items()
        if path in kept and key in state and not problems
    }
    problems += [f"{path} overflows {np.dtype(dtype)}" for path in tensors if not _finite(tensors[path])]
    if problems:
        raise UserError(f"{origin} cannot be converted, check that it is the right file: {'; '.join(problems)}")
    return tensors


def find_problems(state: Mapping[str, np.ndarray], network: Network) -> list[str]:
    """Why a state dict does not match the network, one sentence per problem; empty if it matches."""
    shapes = network.shapes(None)
    paths = set(network.keys.values())
    missing = [f"{key} is missing" for key in network.keys if key not in state]
    unknown = [f"{shown(key)} is not part of the network" for key in state if not network.knows(key)]
    unmapped = [f"the key table maps nothing to {path}" for path in shapes if path not in paths]
    invalid = [
        problem
        for key, path in network.keys.items()
        if key in state
        for problem in _tensor_problems(key, state[key], path, shapes)
    ]
    return [problem for kind in (missing, unknown, unmapped, invalid) for problem in truncate_problems(kind)]


def to_flax(tensor: np.ndarray) -> np.ndarray:
    """Transposes OIHW kernels to HWIO; other tensors are unchanged."""
    return np.ascontiguousarray(tensor.transpose(OIHW_TO_HWIO) if tensor.ndim == 4 else tensor)


def round_trip(state: Mapping[str, np.ndarray], network: Network, dtype: DTypeLike) -> dict[str, np.ndarray]:
    """The state dict at the stored precision: cast to `dtype` and back to float32, without dropped keys."""
    return {key: _cast(state[key], dtype).astype(np.float32) for key in network.keys}


def _tensor_problems(key: str, tensor: np.ndarray, path: str, shapes: Shapes) -> list[str]:
    if path not in shapes:
        return [f"the key table names {path}, which the network does not have"]
    expected = shapes[path]
    if len(expected) == 4:
        expected = tuple(expected[OIHW_TO_HWIO.index(axis)] for axis in range(4))
    if tensor.shape != expected:
        return [f"{key} has shape {tensor.shape}, expected {expected}"]
    if not _finite(tensor):
        return [f"{key} holds values that are not finite"]
    if path.endswith(".var") and tensor.min() < 0:
        return [f"{key} holds negative variances"]
    return []


def _cast(tensor: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    with np.errstate(over="ignore"):  # overflow is detected later and reported by tensor name
        return tensor.astype(dtype)


def _finite(tensor: np.ndarray) -> bool:
    return bool(np.isfinite(tensor).all())
