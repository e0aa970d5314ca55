"""Fingerprints of input files: whether a run that continues has the same inputs, wherever and whenever they lie."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_FILES_READ = 4096  # of more files only names and sizes count: reading 100,000 photos would take minutes
BLOCK = 128 * 1024  # bytes at the head and at the tail that are read; files of up to two blocks are read whole
SINGLE = ""  # the name of a file that stands for itself, so that it may be renamed

Fingerprint = dict[str, list[Any]]
"""{name relative to the folder: [bytes, digest]}, JSON. Bytes are -1 for what cannot be read, such as a broken link or
a pipe; the digest is empty if the content does not count."""


def fingerprint(files: Mapping[str, Path]) -> Fingerprint:
    """The fingerprint of files by names that do not depend on where they lie; see `relative_names`.

    Neither times nor the spelling of paths count. Of files larger than two blocks only head and tail are read, of more
    than MAX_FILES_READ files nothing.
    """
    read = len(files) <= MAX_FILES_READ
    return {name: _describe(path, read) for name, path in files.items()}


def file_fingerprint(path: str | Path) -> Fingerprint:
    """The fingerprint of one file, whatever its name."""
    return fingerprint({SINGLE: Path(path).expanduser()})


def relative_names(files: Collection[tuple[Path, Sequence[Path]]]) -> dict[str, Path]:
    """{name: file} for the (folder, files in it) of a run, where folders may move: "a.jpg", or "0/a.jpg" of several.

    A folder that is given twice counts twice.
    """
    return {
        f"{number}/{name}" if len(files) > 1 else name: path
        for number, (folder, paths) in enumerate(files)
        for path in paths
        for name in (path.relative_to(folder).as_posix(),)
    }


def changes(old: Mapping[str, list[Any]], new: Fingerprint) -> str:
    """How the files of a fingerprint have changed, as a phrase; "" if they have not.

    Args:
      old: of an earlier run; where it has no digest, as those that earlier versions wrote, the sizes are compared.
      new: of this run.
    """
    both = [(name, old[name], new[name]) for name in new if name in old]
    found = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "of another size": [name for name, before, after in both if before[0] != after[0]],
        "of other content": [name for name, before, after in both if before[0] == after[0] and _differ(before, after)],
    }
    return ", ".join(_phrase(names, change) for change, names in found.items() if names)


def _phrase(names: list[str], change: str) -> str:
    return change if names == [SINGLE] else f"{len(names)} {change} (the first: {names[0]})"


def _differ(old: list[Any], new: list[Any]) -> bool:
    """Whether two digests differ; those that are not there do not."""
    return bool(old[1] and new[1] and old[1] != new[1])


def _describe(path: Path, read: bool) -> list[Any]:
    if not path.is_file():  # opening a pipe would wait forever
        return [-1, ""]
    try:
        size = path.stat().st_size
        return [size, _digest(path, size) if read else ""]
    except OSError:
        return [-1, ""]


def _digest(path: Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(2 * BLOCK if size <= 2 * BLOCK else BLOCK))
        if size > 2 * BLOCK:
            file.seek(-BLOCK, 2)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def is_fingerprint(value: Any) -> bool:
    """Whether JSON has the form of a fingerprint."""
    return isinstance(value, dict) and all(
        isinstance(described, list) and [type(part) for part in described] == [int, str] for described in value.values()
    )
