"""A workdir in a bucket: the run writes into a folder of this machine, which is mirrored there.

What a run writes, files that grow, files that are renamed and locks, a bucket has not. So it works on a copy: when it
starts, the run in the bucket is copied here, and with every checkpoint what has changed is copied there. A checkpoint
counts once its marker is there, which comes last, so that one that a kill has cut short is never taken. What could not
be copied stays here, and the next call goes on from it.

Of several hosts each works on a copy of its own. The first one's is what the bucket gets, but for masks, of which each
computes a part, and gets the rest from the bucket.
"""

import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.files import write_text
from msst_jax.io.lock import locked_folder
from msst_jax.io.remote import (
    CACHE,
    check_writable_url,
    download,
    folder_of,
    list_files,
    remote_errors,
    remote_path,
    remove,
    upload,
)
from msst_jax.training.run_record import CONFIG_FILE, FILES_FILE
from msst_jax.training.workdir import (
    CHECKPOINTS,
    EVENTS,
    MASKS,
    RUN_FILES,
    RUN_FOLDERS,
    RUN_ID,
    STYLES,
    newest_checkpoint,
)

MARKER = ".complete"
NEEDED = (MASKS, STYLES)  # folders that a run reads again; samples, traces and event files stay in the bucket
UNSAVED = "unsaved"  # beside a workdir: the bucket has not all of it
WORKDIRS = CACHE.with_name("workdirs")


class Mirror:
    """A local workdir and the folder of a bucket that it is mirrored to.

    Attributes:
      url: of the folder in the bucket.
      local: the workdir of this machine.
      failed: whether the bucket has refused something.
    """

    def __init__(self, url: str, process: int = 0):
        """Takes the folder of this machine that belongs to a URL; nothing is read or written yet.

        Args:
          url: of the folder in the bucket.
          process: index of this process; those of several hosts may share a home folder.
        """
        self.url = url.rstrip("/")
        folder = folder_of(self.url, WORKDIRS)
        self.local = (folder / f"process-{process}" if process else folder) / "run"
        self.failed = False
        self._process = process
        self._uploaded: dict[str, tuple[int, int]] = {}
        self._unsaved = self.local.with_name(UNSAVED)

    def pull(self) -> None:
        """Replaces what is in the local workdir by the run in the bucket: its record, masks and checkpoints.

        What an earlier call could not copy to the bucket stays instead, unless the bucket has gone on since, or holds
        another run.

        Raises:
          UserError: the bucket cannot be read or written.
        """
        with remote_errors(f"--workdir {self.url}"):
            there = list_files(self.url)
            _check_own(there, self.url)
            steps = {name.split("/")[1].removesuffix(MARKER) for name in there if _is_marker(name)}
            newest = max(map(int, steps), default=0)
            if self._unsaved.exists() and newest_checkpoint(self.local) >= newest and self._is_run_of(there):
                logging.info("%s: going on from %s, which could not be copied there", self.url, self.local)
                return
            self._unsaved.unlink(missing_ok=True)
            _empty(self.local)
            for name in there:
                if name in RUN_FILES or name.partition("/")[0] in NEEDED or _is_of_checkpoint(name, steps):
                    download(f"{self.url}/{name}", self.local / name)
                    self._uploaded[name] = _version(self.local / name)
        if newest:
            logging.info("%s: its checkpoint of step %d was copied here", self.url, newest)

    def _is_run_of(self, there: Collection[str]) -> bool:
        """Whether the bucket, which has these files, holds the run that is here, or none."""
        if RUN_ID not in there:
            return CONFIG_FILE not in there
        path = self.local / RUN_ID
        return path.exists() and remote_path(f"{self.url}/{RUN_ID}").read_text() == path.read_text()

    def clear(self) -> None:
        """Empties the local workdir."""
        _empty(self.local)

    def pull_masks(self) -> None:
        """Copies the masks in the bucket that are not here.

        Raises:
          UserError: the bucket cannot be read.
        """
        with remote_errors(f"--workdir {self.url}"):
            for name in list_files(f"{self.url}/{MASKS}"):
                path = self.local / MASKS / name
                if not path.exists():
                    download(f"{self.url}/{MASKS}/{name}", path)
                    self._uploaded[f"{MASKS}/{name}"] = _version(path)

    def push_masks(self) -> None:
        """Copies the masks that are new here to the bucket.

        Raises:
          UserError: the bucket cannot be written.
        """
        with remote_errors(f"--workdir {self.url}"):
            self._copy(name for name in self._changed() if name.startswith(f"{MASKS}/"))

    def push(self) -> None:
        """Copies what has changed since the last call to the bucket, checkpoints last, and removes what is gone.

        Only process 0 does: the bucket gets its copy.

        Raises:
          UserError: the bucket cannot be written. The next call on this machine goes on from the local workdir.
        """
        if self._process:
            return
        self._unsaved.touch()
        if (self.local / CONFIG_FILE).exists() and not (self.local / RUN_ID).exists():
            write_text(self.local / RUN_ID, secrets.token_hex(16))
        try:
            with remote_errors(f"--workdir {self.url}"):
                self._copy_changed()
        except UserError as error:
            self.failed = True
            way_out = f"the same command on this machine goes on from what is in {self.local}"
            raise UserError(f"{error}; {way_out}") from error
        self._unsaved.unlink()

    def _copy_changed(self) -> None:
        self._copy(sorted(self._changed(), key=lambda name: name.startswith(f"{CHECKPOINTS}/")))
        self._mark({name.split("/")[1] for name in self._names() if _is_of_checkpoint(name)})

    def _names(self) -> list[str]:
        return [path.relative_to(self.local).as_posix() for path in _files(self.local)]

    def _changed(self) -> list[str]:
        """The files that are not in the bucket as they are here."""
        return [name for name in self._names() if self._uploaded.get(name) != _version(self.local / name)]

    def _copy(self, names: Iterable[str]) -> None:
        for name in names:
            version = _version(self.local / name)
            upload(self.local / name, f"{self.url}/{name}")
            self._uploaded[name] = version

    def remove_others(self) -> None:
        """Removes from the bucket what an earlier run has left there and this one has not.

        Raises:
          UserError: the bucket cannot be written.
        """
        with remote_errors(f"--workdir {self.url}"):
            for name in list_files(self.url):
                own = name in RUN_FILES or name.partition("/")[0] in RUN_FOLDERS or name.startswith(EVENTS)
                if own and not (self.local / name).exists():
                    remove(f"{self.url}/{name}")
                    self._uploaded.pop(name, None)

    def _mark(self, steps: set[str]) -> None:
        """Marks the checkpoints that are complete, and removes those that are no longer kept here."""
        there = list_files(f"{self.url}/{CHECKPOINTS}")
        marked = {name.removesuffix(MARKER) for name in there if name.endswith(MARKER)}
        for step in steps - marked:
            upload(self._unsaved, f"{self.url}/{CHECKPOINTS}/{step}{MARKER}")  # a file as empty as a marker
        for step in marked - steps:
            remove(f"{self.url}/{CHECKPOINTS}/{step}{MARKER}")  # first: without it the rest counts for nothing
        own = steps | marked  # no others: a run that was copied there by other means has no markers
        for name in there:  # also what a copy that was cut short has left of a checkpoint of the same step
            if name.partition("/")[0] in own and not (self.local / CHECKPOINTS / name).exists():
                remove(f"{self.url}/{CHECKPOINTS}/{name}")


def _check_own(there: Collection[str], url: str) -> None:
    """Raises UserError if a folder holds files where a run would write and is no run's; as `prepare_workdir`."""
    if CONFIG_FILE in there or FILES_FILE in there:
        return
    folders = {name.partition("/")[0] for name in there if "/" in name}
    if found := [name for name in RUN_FOLDERS if name in folders and name != STYLES]:
        raise UserError(
            f"--workdir {url} has {', '.join(found)} of its own, where a run would write; take another --workdir"
        )


def _is_marker(name: str) -> bool:
    folder, _, rest = name.partition("/")
    return folder == CHECKPOINTS and rest.endswith(MARKER) and rest.removesuffix(MARKER).isdecimal()


def _is_of_checkpoint(name: str, steps: Collection[str] | None = None) -> bool:
    """Whether a file is of a checkpoint: of one of these steps, or of any."""
    parts = name.split("/")
    found = len(parts) > 2 and parts[0] == CHECKPOINTS and parts[1].isdecimal()
    return found and (steps is None or parts[1] in steps)


def _files(folder: Path) -> Iterator[Path]:
    """The files of a run; no lock, and nothing that is being written, whose name begins with a dot."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        written = _is_of_checkpoint(name) or not (name.startswith(f"{CHECKPOINTS}/") or path.name.startswith("."))
        if path.is_file() and written:
            yield path


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def mirrored(url: str, process: int = 0, *, anew: bool = False) -> Iterator[Mirror]:
    """A mirror that is filled when the block begins; that of process 0 is pushed when it ends, however it ends.

    Args:
      url: of the folder in the bucket.
      process: index of this process; those after the first one begin when it has filled its own.
      anew: the run begins anew: process 0 still needs what is there, to remove it.

    Raises:
      UserError: the bucket cannot be read or written.
    """
    mirror = Mirror(url, process)
    check_writable_url(mirror.url, "--workdir")  # first: where it fails, nothing is made on this machine
    with locked_folder(mirror.local.parent, "take another --workdir"):
        if process and anew:
            mirror.clear()
        else:
            mirror.pull()
        try:
            yield mirror
        except BaseException:
            _push_after(mirror)
            raise
        mirror.push()


def _push_after(mirror: Mirror) -> None:
    """Pushes at the end of a run that failed; that this fails too must not hide why.

    Where the bucket is why, it is not tried again: the other hosts end this one before clients give up once more.
    """
    if mirror.failed:
        return
    try:
        mirror.push()
    except UserError as failure:
        logging.error("%s", failure)
