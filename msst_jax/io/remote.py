"""Files in a bucket, such as gs://bucket/run: copies of them on this machine, and how files get there.

By etils.epath, whose backends are fsspec's: gs:// needs gcsfs, s3:// needs s3fs, az:// needs adlfs.
"""

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msst_jax.errors import UserError, first_line
from msst_jax.io.paths import user_path

if TYPE_CHECKING:
    from etils import epath

PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}
URL = re.compile(rf"({'|'.join(PACKAGES)})://[^/]+")
CACHE = Path("~", ".cache", "msst_jax", "remote")
BLOCK = 1 << 20  # bytes
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def is_remote(text: str) -> bool:
    """Whether a path is one of a bucket."""
    return URL.match(text) is not None


def input_path(text: str | Path, what: str, *, file: str = "", **meaning: Any) -> Path:
    """A path of an input as `user_path` takes it or, of a bucket, that of its `local_copy`.

    Raises:
      UserError: as both.
    """
    return user_path(local_copy(str(text), what, file=file), what, **meaning)


def remote_path(url: str) -> "epath.Path":
    """The path of a file or folder in a bucket."""
    from etils import epath  # runs on files of this machine do without

    return epath.Path(url)


def folder_of(url: str, root: Path) -> Path:
    """The folder of this machine that belongs to a URL, below a root in the home folder."""
    return root.expanduser() / hashlib.sha256(url.encode()).hexdigest()[:16]


def local_copy(text: str, what: str, *, file: str = "") -> str:
    """The path of a copy on this machine, in the user's cache folder; of a path of this machine the path itself.

    What has not changed since the last call is not copied again.

    Args:
      text: as given by the user; of a bucket, a file or a folder.
      what: names it in errors, such as "--photos".
      file: the only file of a folder that is needed; "" = all.

    Raises:
      UserError: there is no such file, no access, or a package is missing.
    """
    if not is_remote(text):
        return text
    url = text.rstrip("/")
    target = folder_of(url, CACHE) / url.rpartition("/")[2]
    with remote_errors(f"{what} {text}"):
        source = remote_path(url)
        if source.is_dir():
            _refresh(source / file, target / file) if file else download_folder(url, target)
        elif source.exists():
            _refresh(source, target)
        else:
            raise UserError(f"{what} {text} does not exist; check the name")
    return str(target)


def download_folder(url: str, target: Path) -> None:
    """Makes a folder of this machine equal to one of a bucket: what is not there is removed."""
    files = {name: remote_path(url) / name for name in list_files(url)}
    for path in [path for path in target.rglob("*") if path.is_file()]:
        being_written = path.name.startswith(".")  # by another process that copies the same folder
        if path.relative_to(target).as_posix() not in files and not being_written:
            path.unlink(missing_ok=True)
    for name, source in files.items():
        _refresh(source, target / name)


def list_files(url: str) -> list[str]:
    """The files below a folder, by names relative to it, sorted; none if it is not there.

    As they are now: clients keep a listing for good, and files of other machines would never be in it.
    """

    def below(folder: "epath.Path", prefix: str) -> Iterator[str]:
        for path in folder.iterdir():
            name = f"{prefix}{path.name}"
            yield from below(path, f"{name}/") if path.is_dir() else (name,)

    folder = remote_path(url)
    _forget_listings(folder)
    return sorted(below(folder, "")) if folder.is_dir() else []


def _forget_listings(folder: "epath.Path") -> None:
    from etils.epath import backend

    if folder._backend is backend.fsspec_backend:  # type: ignore[attr-defined]  # the other ones keep none
        backend.fsspec_backend.fs(folder).invalidate_cache()


def _refresh(source: "epath.Path", target: Path) -> None:
    """Copies a file unless size and time of the copy are those of the file; without a time, as on s3://, always."""
    stat = source.stat()
    if stat.mtime and target.is_file() and _size_and_time(target) == (stat.length, stat.mtime):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex}")  # a copy is nothing that the run has written
    try:
        _copy(source, temporary)
        os.utime(temporary, (stat.mtime, stat.mtime))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, int(stat.st_mtime)


def download(url: str, target: Path) -> None:
    """Copies a file out of a bucket, into a folder that is made if it is not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(remote_path(url), target)


def upload(source: Path, url: str) -> None:
    """Copies a file into a bucket, whose objects appear as a whole."""
    target = remote_path(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, target)


def _copy(source: "Path | epath.Path", target: "Path | epath.Path") -> None:
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, BLOCK)


def remove(url: str) -> None:
    """Removes a file from a bucket, if it is there."""
    remote_path(url).unlink(missing_ok=True)


def check_writable_url(url: str, what: str) -> None:
    """Writes an object and removes it.

    Raises:
      UserError: no access, or a package is missing.
    """
    probe = remote_path(url) / f".{uuid.uuid4().hex}"
    with remote_errors(f"{what} {url}"):
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()


@contextmanager
def remote_errors(named: str) -> Iterator[None]:
    """Turns the errors of a bucket, whose types depend on its client, into a UserError that names what was used."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        scheme = named.partition("://")[0].rpartition(" ")[2]
        package = PACKAGES.get(scheme, "a client")
        raise UserError(f"{named}: {scheme}:// needs the package {package}; install it with pip") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise UserError(f"{named}: there is no space for its copy on this machine; free some") from error
        raise UserError(f"{named} cannot be used ({first_line(error)}); check its name and your access") from error
