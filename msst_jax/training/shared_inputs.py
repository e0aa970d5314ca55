"""Whether all hosts of a run see one workdir and the same inputs; on disks of their own they would train nonsense."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax

from msst_jax.errors import UserError
from msst_jax.io.files import write_text
from msst_jax.io.remote import remote_errors, remote_path, remove
from msst_jax.runtime.devices import hosts_unlike_host0, hosts_where, run_on_all_hosts, text_of_host0

TOKEN_FILE = ".hosts"  # in the workdir, while the hosts look for it
SHARED = "a folder on a disk that all hosts share"


def check_shared_workdir(workdir: Path) -> None:
    """Checks that what host 0 writes into the workdir is seen by every host. A collective; host 0 holds the workdir.

    Raises:
      UserError: on all hosts, if some do not see it, or host 0 cannot write.
    """
    path = workdir / TOKEN_FILE
    unlink = partial(path.unlink, missing_ok=True)
    _check_shared(workdir, lambda token: write_text(path, token), lambda: _read_fresh(path), unlink, SHARED)


def check_shared_bucket(url: str) -> None:
    """As `check_shared_workdir`, of a workdir in a bucket.

    Raises:
      UserError: also if a host cannot use the bucket.
    """
    path, named = remote_path(url) / TOKEN_FILE, f"--workdir {url}"

    def read() -> bytes:
        with remote_errors(named):
            return path.read_bytes() if path.exists() else b""

    def write(token: str) -> None:
        with remote_errors(named):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(token)

    def remove_token() -> None:
        with remote_errors(named):
            remove(str(path))

    _check_shared(url, write, read, remove_token, "the same bucket and folder")


def _check_shared(
    workdir: Path | str,
    write: Callable[[str], None],
    read: Callable[[], bytes],
    remove_token: Callable[[], None],
    what: str,
) -> None:
    """Host 0 writes a token and removes it, all read it between; `what` tells users what to give."""
    if jax.process_count() == 1:
        return
    first = jax.process_index() == 0
    token = secrets.token_hex(16) if first else ""
    run_on_all_hosts(lambda: write(token) if first else None)
    try:
        found = run_on_all_hosts(read)
        blind = hosts_where(found != text_of_host0(token).encode())
    finally:
        if first:
            remove_token()
    if blind:
        raise UserError(
            f"{_processes(blind)} not see the workdir of process 0, {workdir}; give all hosts {what} as --workdir"
        )


def check_same_kind(in_bucket: bool) -> None:
    """Checks that the workdirs of all hosts are in a bucket, or of none. A collective; other ones differ by the kind.

    Raises:
      UserError: on all hosts, if some have another kind than host 0.
    """
    if other := hosts_unlike_host0(in_bucket):
        raise UserError(
            f"only some --workdir are in a bucket: {_processes(other, 'differs', 'differ')} from process 0; give all "
            "hosts the same one"
        )


def check_same_inputs(inputs: Any) -> None:
    """Checks that the inputs of every host are those of host 0. A collective.

    Args:
      inputs: whatever tells them, JSON: names, sizes, contents.

    Raises:
      UserError: on all hosts, if some have others.
    """
    if other := hosts_unlike_host0(inputs):
        raise UserError(
            f"{_processes(other, 'has', 'have')} other photos, masks, styles or settings than process 0; give all "
            "hosts the same command, and copies of the same files"
        )


def check_same_step(step: int) -> None:
    """Checks that all hosts go on from one step. A collective.

    Where each has a disk of its own, one may have been started without --restart; orbax would wait for the others.

    Raises:
      UserError: on all hosts, if some go on from another step than host 0.
    """
    if other := hosts_unlike_host0(step):
        raise UserError(
            f"process 0 goes on from step {text_of_host0(str(step))}, and process {other[0]} from another one; start "
            "the same command on all hosts again"
        )


def _read_fresh(path: Path) -> bytes:
    """The content of a file that another host has just written; empty if it is not there.

    Its folder may be new, too. A network file system may keep for a while that a name was not there; where a folder is
    opened, it asks again.
    """
    for folder in reversed(path.absolute().parents):
        with suppress(OSError), os.scandir(folder) as entries:
            next(entries, None)
    with suppress(OSError):
        return path.read_bytes()
    return b""


def _processes(indices: list[int], verb: str = "does", plural: str = "do") -> str:
    named = f"process {indices[0]}" if len(indices) == 1 else f"processes {', '.join(map(str, indices))}"
    return f"{named} {verb if len(indices) == 1 else plural}"
