"""A lock on a folder: two runs at once in one would overwrite each other's files."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.files import os_errors_as_user_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # such as on some network file systems


@contextmanager
def locked_folder(folder: Path, instead: str) -> Iterator[str]:
    """Holds a folder for this process, and creates it if it is not there.

    The kernel releases the lock when the process ends, however it ends: a lock file that was left behind is no lock,
    on this machine or after a restart of it. The file names the process for the message of another one.

    Args:
      folder: the folder.
      instead: what to do while another run holds the folder, beside waiting for it.

    Yields:
      The process that held the folder last and was killed, such as "process 12 on host"; "" if there is none.

    Raises:
      UserError: another process holds the folder, or the file system refuses.
    """
    created = not folder.exists()
    path = folder / LOCK_FILE
    with os_errors_as_user_errors(folder):
        file = _acquire(path, instead)
        file.seek(0)
        previous = _describe(file.read())
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
    try:
        yield previous
    finally:
        path.unlink(missing_ok=True)  # before the lock is released, so that it is our own
        file.close()
        if created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def log_takeover(folder: Path, previous: str) -> None:
    """Says that a run goes on from what a killed one left, if there was one."""
    if previous:
        logging.info("%s: taking over from %s, which was killed", folder, previous)


def _acquire(path: Path, instead: str) -> IO[str]:
    """Opens and locks the file; UserError if another process has."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8", errors="replace")
        except FileNotFoundError:  # the folder was removed in between
            continue
        try:
            _lock(file, path.parent)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = _describe(file.read()) or "another process"
            raise UserError(f"{path.parent} is in use by {holder}; wait until it ends, or {instead}") from None
        if _is_at(path, file):
            return file
        file.close()  # its holder has removed it since we opened it


def _lock(file: IO[str], folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        logging.warning("%s cannot be locked (%s): take care that no other run uses it", folder, error.strerror)


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether the open file is still the one under this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _describe(content: str) -> str:
    number, _, host = content.strip().partition(" ")
    return f"process {number} on {host}" if number.isdecimal() and host else ""
