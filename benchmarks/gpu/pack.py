"""Packs this checkout with the packages that a GPU's image may lack, for a machine without a network.

    python -m benchmarks.gpu.pack FILE.tar.gz [--python 3.12] [--packages NAME...] [--limit 64]

The archive holds the committed files that `python -m benchmarks.gpu` needs, wheels/, and run.sh, which installs those
wheels that are not there yet and measures: `tar xzf FILE.tar.gz && sh run.sh OUTPUT_FOLDER [flags]`. JAX, Flax, optax,
orbax and PyTorch are the image's own; trainings from photos would need grain, array_record and tensorboardX too. Above
the limit, in MiB, nothing is written.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.arguments import at_least
from msst_jax.errors import UserError
from msst_jax.io.files import atomic_path, check_writable
from msst_jax.runtime.console import ArgumentParser, print_line

PROGRAM = "benchmarks.gpu.pack"
ROOT = Path(__file__).parents[2]
TREE = ("benchmarks", "configs", "convert_weights", "examples", "msst_jax", "reference", "stylize.py", "train.py")
LEFT_OUT = [f"msst_jax/assets/stylizer_{name}.safetensors" for name in ("any", "kandinsky_wave", "starry_wheat")]
"""Models that no benchmark runs."""
PACKAGES = ("av>=18,<19", "ml_collections", "safetensors")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
MEBI = 2**20
RUN = """#!/bin/sh
# sh run.sh OUTPUT_FOLDER [flags of python -m benchmarks.gpu]
output=$(realpath -m "${1:?a folder for the results is missing}")
shift
cd "$(dirname "$0")" || exit 2
for wheel in wheels/*.whl; do
    name=$(basename "$wheel" | cut -d- -f1)
    python3 -c "import importlib.metadata as m; m.version('$name')" 2>/dev/null \\
        || python3 -m pip install --quiet --no-index --no-deps "$wheel"
done
exec python3 -m benchmarks.gpu -o "$output" "$@"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs; returns the exit code: 0 done, 2 bad input."""
    try:
        flags = _parse(arguments)
        check_writable(flags.output, "gpu.tar.gz")
        with tempfile.TemporaryDirectory() as folder:
            wheels = download(flags.packages, flags.python, Path(folder))
            archive = pack(committed_tree(), wheels)
            sizes = {wheel.name: wheel.stat().st_size for wheel in wheels}
        if len(archive) > flags.limit * MEBI:
            largest = f", the largest is {max(sizes, key=sizes.__getitem__)}" if sizes else ""
            raise UserError(
                f"the archive would have {len(archive) / MEBI:.1f} MiB, above --limit {flags.limit}; raise it, or give "
                f"fewer --packages{largest}"
            )
        with atomic_path(flags.output) as path:
            path.write_bytes(archive)
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    print(f"{flags.output}: {len(archive) / MEBI:.1f} MiB; tar xzf it there, and: sh run.sh OUTPUT_FOLDER")
    return 0


def committed_tree() -> bytes:
    """The committed files that the benchmarks need, as a tar archive.

    Raises:
      UserError: this is no git checkout.
    """
    left_out = [f":(exclude){path}" for path in LEFT_OUT]
    process = subprocess.run(["git", "archive", "HEAD", *TREE, *left_out], cwd=ROOT, capture_output=True, check=False)
    if process.returncode:
        reason = process.stderr.decode().strip().splitlines()[-1:] or ["git failed"]
        raise UserError(f"{ROOT} cannot be packed ({reason[0]}); run it in a git checkout")
    return process.stdout


def download(packages: Sequence[str], python: str, folder: Path) -> list[Path]:
    """Wheels of the packages for Linux, without what they depend on.

    Raises:
      UserError: pip finds none.
    """
    if not packages:
        return []
    platforms = [f"--platform={name}" for name in PLATFORMS]
    options = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms, f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, *packages]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"pip cannot download {', '.join(packages)} for Python {python}: {reason[0]}")
    return sorted(folder.glob("*.whl"))


def pack(tree: bytes, wheels: Sequence[Path]) -> bytes:
    """One tar archive of the tree, the wheels and run.sh."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive, tarfile.open(fileobj=io.BytesIO(tree)) as files:
        for member in files:
            archive.addfile(member, files.extractfile(member) if member.isfile() else None)
        for wheel in wheels:
            archive.add(wheel, f"wheels/{wheel.name}")
        script = tarfile.TarInfo("run.sh")
        script.size, script.mode = len(RUN), 0o755
        archive.addfile(script, io.BytesIO(RUN.encode()))
    return packed.getvalue()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="FILE.tar.gz")
    parser.add_argument("--python", default="3.12", metavar="VERSION", help="of the image")
    parser.add_argument("--packages", nargs="*", default=list(PACKAGES), metavar="NAME", help="that the image lacks")
    parser.add_argument("--limit", type=at_least(1), default=64, metavar="MIB")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
