"""The resume folder of a video: finished frame batches and encoded segments, kept until the output is complete."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self
from zipfile import BadZipFile, ZipFile

import jax
import numpy as np

from msst_jax.errors import UserError, first_line
from msst_jax.io.files import follow_link, write_atomically, write_text
from msst_jax.io.lock import LOCK_FILE, locked_folder, log_takeover
from msst_jax.video.io.segments import PackedPackets
from msst_jax.video.resume_identity import PLAN, RUN_FILE, differences, read_run


class ChunkPlan(NamedTuple):
    """How the frames of a video are divided into batches and segments.

    Attributes:
      batch: frames that are stylized together.
      segment: frames that are encoded together, a multiple of `batch`; 0 = raw frames are kept to the end.
    """

    batch: int
    segment: int

    @property
    def per_segment(self) -> int:
        """Batches of a segment; 0 = there are no segments."""
        return self.segment // self.batch


class Waiting(NamedTuple):
    """How much finished work may wait in memory, which a killed process loses.

    Attributes:
      size: bytes of frames.
      seconds: since files were last written.
    """

    size: int
    seconds: float


WITH_SEGMENTS = Waiting(2**29, 10.0)
"""Frames wait for their segment, so that only that is written. 80 frames at 1920x1080 fit into the size, more than a
segment; where a segment takes minutes, no more than the last seconds of them are lost."""


class _WaitingBatch(NamedTuple):
    images: np.ndarray
    state: Any
    """None where a later batch has one, and no segment ends here."""


class ResumeFolder:
    """A folder of finished batches and segments.

    A batch waits in memory until its segment is encoded, or is stored as raw frames until then if that takes long; with
    the last batch the recurrent state is stored, from which the next one starts. So the folder is little larger than
    the output; without segments it holds all frames, 3 bytes per pixel. One thread may add batches while another one
    adds segments and calls `keep_if_due`.

    Attributes:
      batches: number of finished batches, counted from the first.
      segments: number of finished segments.
    """

    def __init__(
        self, folder: Path, plan: ChunkPlan, run: Mapping[str, Any], *, resume: bool, waiting: Waiting = WITH_SEGMENTS
    ):
        """Creates the folder, or opens that of an earlier run, and holds it until `close`.

        Args:
          folder: see `resume_path`.
          plan: must equal that of the earlier run.
          run: everything that the result depends on, as JSON; must equal that of the earlier run, see `differences`.
          resume: continue an earlier run, if there is one.
          waiting: what may wait in memory.

        Raises:
          UserError: there is an earlier run, but `resume` is false or its `run` differs; another process is at work in
            the folder; or an unwritable place.
        """
        self.folder = folder
        self.plan = plan
        self.batches = self.segments = 0
        self._limit = waiting
        self._waiting: dict[int, _WaitingBatch] = {}
        self._guard = Lock()  # of what waits
        self._kept_at = time.monotonic()
        self._lock = ExitStack()
        previous = self._lock.enter_context(locked_folder(folder, "choose another output"))
        try:
            self._open(json.loads(json.dumps({**run, PLAN: plan._asdict()})), resume)
        except BaseException:
            self.close()
            raise
        log_takeover(folder, previous)

    def _open(self, run: dict[str, Any], resume: bool) -> None:
        if self._is_empty():
            self._clear()
        else:
            self._check_same_run(run, resume)
            for leftover in self.folder.glob(".*"):  # temporary files of a killed run
                if leftover.name != LOCK_FILE:
                    _remove(leftover)
            self._count_finished()
        if not (self.folder / RUN_FILE).exists():
            write_text(self.folder / RUN_FILE, json.dumps(run, indent=1))

    def __enter__(self) -> Self:
        """Closes the folder at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Lets other processes open the folder."""
        self._lock.close()

    def _check_same_run(self, run: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise UserError(
                f"{self.folder} holds an interrupted run; continue it with --resume, or delete it to start again"
            )
        try:
            previous = read_run(self.folder)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.folder} is damaged ({first_line(error)}); choose another output, or delete it to start again"
            ) from error
        changed = differences(previous, run)
        if changed:
            raise UserError(
                f"{self.folder} was created with another {', '.join(changed)}: use the same as then, choose another "
                "output, or delete it to start again"
            )

    def _count_finished(self) -> None:
        while self.plan.segment and self._file("segment", self.segments).exists():
            self.segments += 1
        self.batches = self.segments * self.plan.per_segment
        while self._file("batch", self.batches).exists():
            self.batches += 1
        while self.batches and not self._file("state", self.batches - 1).exists():
            self.batches -= 1  # the run was killed between writing a batch and its segment

    def _file(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}_{number:06d}.npz"

    def add_batch(self, number: int, images: np.ndarray, state: Any) -> None:
        """Takes the images uint8 (N, H, W, 3) of a batch, and the state after it, a pytree of arrays."""
        with self._guard:
            previous = self._waiting.get(number - 1)
            if previous is not None and not self._ends_segment(number - 1):
                self._waiting[number - 1] = previous._replace(state=None)  # its arrays may be large, on the device
            self._waiting[number] = _WaitingBatch(images, state)
            self.batches = number + 1

    def _ends_segment(self, number: int) -> bool:
        return bool(self.plan.segment) and (number + 1) % self.plan.per_segment == 0

    def keep_if_due(self) -> None:
        """Stores what waits in memory, if it is much or has waited for long.

        Raises:
          UserError: the file system refuses.
        """
        with self._guard:
            size = sum(batch.images.nbytes for batch in self._waiting.values())
        if size > self._limit.size or time.monotonic() - self._kept_at > self._limit.seconds:
            self.keep()

    def keep(self) -> None:
        """Stores all that waits in memory.

        Raises:
          UserError: the file system refuses.
        """
        with self._guard:
            waiting = dict(self._waiting)
        if waiting:
            last = max(waiting)
            self._save_state(last, waiting[last].state)
            for number, batch in waiting.items():
                _save(self._file("batch", number), {"images": batch.images})
            self._forget(list(waiting), last)

    def drop_waiting(self) -> None:
        """Forgets what could not be stored, so that only what was is counted."""
        with self._guard:
            self._waiting.clear()
        self._count_finished()

    def _save_state(self, number: int, state: Any) -> None:
        leaves = {f"{index:06d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
        _save(self._file("state", number), leaves)

    def _forget(self, numbers: Iterable[int], last: int) -> None:
        """Forgets batches that are stored, and the states before that of batch `last`, which must be there."""
        with self._guard:
            for number in numbers:
                self._waiting.pop(number, None)
        for path in self.folder.glob("state_*.npz"):
            if path < self._file("state", last):
                path.unlink(missing_ok=True)
        self._kept_at = time.monotonic()

    def state(self, like: Any) -> Any:
        """The state after the last stored batch, with the pytree structure of `like`.

        Raises:
          UserError: the file is damaged.
        """
        leaves, structure = jax.tree.flatten(like)
        stored = _load(self._file("state", self.batches - 1), [f"{index:06d}" for index in range(len(leaves))])
        return jax.tree.unflatten(structure, [stored[name] for name in sorted(stored)])

    def images(self, number: int) -> np.ndarray:
        """The frames of a batch that is not yet in a segment.

        Raises:
          UserError: the file is damaged.
        """
        return _load(self._file("batch", number), ["images"])["images"]

    def add_segment(self, packed: PackedPackets) -> None:
        """Stores an encoded segment with the state after it, and drops its raw frames.

        Raises:
          UserError: the file system refuses.
        """
        per_segment = self.plan.per_segment
        numbers = range(self.segments * per_segment, (self.segments + 1) * per_segment)
        with self._guard:
            last = self._waiting.get(numbers[-1])
        if last is not None:
            self._save_state(numbers[-1], last.state)  # first: without it, the segment would not count
        _save(self._file("segment", self.segments), packed)
        self.segments += 1
        for number in numbers:
            self._file("batch", number).unlink(missing_ok=True)
        if last is not None:
            self._forget(numbers, numbers[-1])

    def segment(self, number: int) -> PackedPackets:
        """A stored segment.

        Raises:
          UserError: the file is damaged.
        """
        return _load(self._file("segment", number), ["data"])

    def remove_if_empty(self) -> None:
        """Removes the folder if it holds no batch or segment, so that there is nothing to resume."""
        if self._is_empty():
            self.remove()

    def _is_empty(self) -> bool:
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        return all(file.name == RUN_FILE or file.name.startswith((".", "state_")) for file in files)

    def remove(self) -> None:
        """Removes the folder: the output is complete."""
        self._clear()
        self.close()
        with suppress(OSError):  # another process has opened it already
            self.folder.rmdir()

    def _clear(self) -> None:
        """Removes all but the lock, which must hold until everything else is gone."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name != LOCK_FILE:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def resume_path(output: Path) -> Path:
    """The resume folder of an output file; beside the file that a link leads to, since its parts are renamed to it."""
    target = follow_link(output)
    return target.with_name(f"{target.name}.part")


def segment_length(batch: int, rate: Fraction) -> int:
    """The frames of a segment: about two seconds, a multiple of the batch."""
    return batch * max(1, round(2 * rate / batch))


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes an .npz as `np.savez` does, with checksums and without compression, but each array without copies."""

    def write(name: Path) -> None:
        with ZipFile(name, "w") as archive:
            for key, array in arrays.items():
                values = np.require(array, requirements="C")
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    header = np.lib.format.header_data_from_array_1_0(values)
                    np.lib.format.write_array_header_1_0(file, header)
                    file.write(values.reshape(-1).view(np.uint8))

    write_atomically(path, write)


def _load(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file; UserError if it is damaged or lacks one that is needed."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # NumPy leaves a damaged file open
            arrays = {name: file[name] for name in file.files}
            return {**{name: arrays[name] for name in needed}, **arrays}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path} is damaged ({error}); choose another output, or delete its folder to start again"
        ) from error
