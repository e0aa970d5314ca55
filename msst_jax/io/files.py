"""Files appear under their name only when they are complete."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msst_jax.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name in the folder of `path`, then renames.

    The temporary file is removed if anything fails, so nothing half-written stays.

    Raises:
      UserError: if the file system refuses (no space, no permission, ...).
    """
    with os_errors_as_user_errors(path), atomic_path(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all.

    Raises:
      UserError: as `write_atomically`.
    """

    def write(name: Path) -> None:
        name.write_text(text, encoding="utf-8")

    write_atomically(path, write)


@contextmanager
def atomic_path(path: Path, folder: bool = False, place: Path | None = None) -> Iterator[Path]:
    """A temporary file, or folder, beside `path` that gets its name when the block ends, and is removed if that fails.

    An error inside the block is left as it is, since it need not concern the file; see `os_errors_as_user_errors`.

    Args:
      path: the name. A folder that is there already must be empty.
      folder: make a folder.
      place: a folder on the same disk for what is temporary; None = beside `path`.

    Raises:
      UserError: if the file system refuses the temporary file or the renaming.
    """
    with os_errors_as_user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _make_temporary(path, folder, place or path.parent)
    try:
        yield temporary
        with os_errors_as_user_errors(path):
            temporary.chmod((0o777 if folder else 0o666) & ~_umask())
            os.replace(temporary, path)
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def os_errors_as_user_errors(path: Path) -> Iterator[None]:
    """Turns what the file system refuses inside the block (no space, no permission, ...) into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another output") from error


def _make_temporary(path: Path, folder: bool, place: Path) -> Path:
    if folder:
        return Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=place))
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=place)
    os.close(handle)
    return Path(name)


def check_writable(path: Path, example: str = "out.png") -> None:
    """Fails now, not after minutes of work, if `path` cannot be written. Leaves nothing behind, no folder either.

    Args:
      path: the file to write.
      example: a file name that the error suggests; with the ending of `path`, if that has one.

    Raises:
      UserError: if `path` is a folder, or its folder cannot be made or written to.
    """
    try:
        if path.is_dir():
            name = Path(example).with_suffix(path.suffix or Path(example).suffix)
            raise UserError(f"cannot write {path}: it is a folder; give a file name such as {path / name}")
        existing = next(folder for folder in path.parents if folder.exists())
        with tempfile.NamedTemporaryFile(prefix=f".{path.stem}-", suffix=path.suffix, dir=existing):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another output") from error


def check_outputs(output: Path, written: Iterable[Path], inputs: Iterable[str]) -> None:
    """Fails before the work if not all files can be written that go with one output.

    Args:
      output: what a person named.
      written: all files that may be written for it.
      inputs: files that must not be written over.

    Raises:
      UserError: one of the files cannot be written, or is one of the inputs.
    """
    resolved = {path.resolve(): path for path in written}
    for path in resolved.values():
        if path != output and path.is_dir():
            raise UserError(f"cannot write {path} beside {output}: it is a folder; choose another name with -o")
        check_writable(path)
    for file in inputs:
        if Path(file).resolve() in resolved:
            raise UserError(f"the output {output} would overwrite the input {file}; choose another name with -o")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes JSON whole or not at all; numbers that are not finite become null.

    Raises:
      UserError: unwritable place.
    """
    write_text(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
