"""Atomic writes (a temporary file, then a rename), and checks of output paths before the work starts."""

import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msst_jax.errors import UserError
from msst_jax.io.written import record_written


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name in the folder of `path`, then renames.

    The temporary file is removed if anything fails, so no partial file is left.

    Raises:
      UserError: the file system refuses (no space, no permission, ...).
    """
    with os_errors_as_user_errors(path), atomic_path(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically.

    Raises:
      UserError: as `write_atomically`.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


@contextmanager
def atomic_path(path: Path, folder: bool = False, place: Path | None = None) -> Iterator[Path]:
    """A temporary file, or folder, that is renamed to `path` when the block ends, and removed if that fails.

    A link stays: the file that it leads to is replaced. An error inside the block is not converted, since it need not
    concern the file; see `os_errors_as_user_errors`.

    Args:
      path: the final path. An existing folder must be empty.
      folder: create a folder instead of a file.
      place: the folder of the temporary file, on the same file system; None = the folder of `path`.

    Raises:
      UserError: the file system refuses the temporary file or the rename.
    """
    target = follow_link(path)
    with os_errors_as_user_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _make_temporary(path, folder, place or target.parent)
    try:
        yield temporary
        with os_errors_as_user_errors(path):
            temporary.chmod((0o777 if folder else 0o666) & ~_umask())
            os.replace(temporary, target)
        record_written(path)
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def follow_link(path: Path) -> Path:
    """The file or folder that a link leads to, which need not exist yet; any other path as it is.

    Raises:
      UserError: the link leads to itself.
    """
    if not path.is_symlink():
        return path
    try:
        target = Path(os.path.realpath(path))
        target.stat()  # of links in a circle, realpath returns one
    except FileNotFoundError:
        return target
    except OSError as error:
        raise UserError(f"cannot write {path}: the link leads nowhere ({error.strerror}); choose another") from error
    return target


@contextmanager
def os_errors_as_user_errors(path: Path) -> Iterator[None]:
    """Converts an OSError inside the block (no space, no permission, ...) into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another output") from error


def _make_temporary(path: Path, folder: bool, place: Path) -> Path:
    if folder:
        return Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=place))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=place)
    os.close(descriptor)
    return Path(name)


def remove_temporary_files(folder: Path, pattern: str = "*.*") -> None:
    """Removes what killed runs have left of atomic writes in a folder where nothing else writes now.

    Args:
      folder: where the files lie.
      pattern: of the names that the files would have had, with an ending.
    """
    stem, _, suffix = pattern.rpartition(".")
    for path in folder.glob(f".{stem}-????????.{suffix}"):
        path.unlink(missing_ok=True)


def check_writable(path: Path, example: str = "out.png") -> None:
    """Fails now, not after minutes of work, if `path` cannot be written. Leaves nothing behind, not even a folder.

    Args:
      path: the file to write.
      example: a file name for the error to suggest; its suffix becomes that of `path`, if that has one.

    Raises:
      UserError: `path` is a folder, pipe, socket or device, or its folder cannot be created or written to.
    """
    with os_errors_as_user_errors(path):
        if path.is_dir():
            name = Path(example).with_suffix(path.suffix or Path(example).suffix)
            raise UserError(f"cannot write {path}: it is a folder; give a file name such as {path / name}")
        target = follow_link(path)
        if target.exists() and not target.is_file():
            raise UserError(f"cannot write {path}: it is a {_kind_of(target.stat().st_mode)}; choose another output")
        existing = next(folder for folder in target.parents if folder.exists())
        with tempfile.NamedTemporaryFile(prefix=f".{path.stem}-", suffix=path.suffix, dir=existing):
            pass


def check_regular_file(path: Path, what: str) -> None:
    """Refuses what is no regular file; opening a pipe would wait forever. Passes what does not exist.

    Args:
      path: the file to read.
      what: its role, named in the error ("photo", "video", "weights").

    Raises:
      UserError: a folder, pipe, socket or device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # missing or unreachable: whoever opens it says so
    if not stat.S_ISREG(mode):
        raise UserError(f"{what} {path} is a {_kind_of(mode)}; give a regular file")


def is_special_file(path: Path) -> bool:
    """Whether a path leads to a pipe, socket or device, so that opening it could wait forever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # missing or unreachable: opening it fails at once
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _kind_of(mode: int) -> str:
    return next((name for is_kind, name in _SPECIAL_FILES.items() if is_kind(mode)), "special file")


_SPECIAL_FILES: Mapping[Callable[[int], bool], str] = {
    stat.S_ISDIR: "folder",
    stat.S_ISFIFO: "pipe",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
}


def check_outputs(output: Path, written: Iterable[Path], inputs: Iterable[str]) -> None:
    """Fails before the work starts if one of the files written along with an output cannot be.

    Args:
      output: the output path given by the user.
      written: all files that may be written for it.
      inputs: files that must not be overwritten.

    Raises:
      UserError: one of the files cannot be written, or is one of the inputs.
    """
    resolved = {os.path.realpath(path): path for path in written}  # unlike resolve, takes links in a circle
    for path in resolved.values():
        if path != output and path.is_dir():
            raise UserError(f"cannot write {path} beside {output}: it is a folder; choose another name with -o")
        check_writable(path)
    for file in inputs:
        if os.path.realpath(file) in resolved:
            raise UserError(f"the output {output} would overwrite the input {file}; choose another name with -o")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes JSON atomically; numbers that are not finite become null.

    Raises:
      UserError: as `write_atomically`.
    """
    write_text(path, json.dumps(_nonfinite_to_none(content), indent=1, allow_nan=False) + "\n")


def _nonfinite_to_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nonfinite_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nonfinite_to_none(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
