"""The resume folder of a video: finished frame batches and encoded segments, kept until the output is complete."""

import json
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax
import numpy as np

from msst_jax.errors import UserError
from msst_jax.io.files import follow_link, os_errors_as_user_errors, write_atomically, write_text
from msst_jax.video.io.segments import PackedPackets

RUN_FILE = "run.json"
LATER_FIELDS = {"config.remat": False, "config.precondition": 0.0}
"""Fields that earlier versions did not record, with the values that they had then."""


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


class ResumeFolder:
    """A folder of finished batches and segments.

    A batch is stored as raw frames until its segment is encoded; with the last batch the recurrent state is stored,
    from which the next one starts. So the folder is little larger than the output; without segments it holds all
    frames, 3 bytes per pixel.

    Attributes:
      batches: number of finished batches, counted from the first.
      segments: number of finished segments.
    """

    def __init__(self, folder: Path, plan: ChunkPlan, run: Mapping[str, Any], *, resume: bool):
        """Creates the folder, or opens that of an earlier run.

        Args:
          folder: see `resume_path`.
          plan: must equal that of the earlier run.
          run: everything that the result depends on, as JSON; must equal that of the earlier run.
          resume: continue an earlier run, if there is one.

        Raises:
          UserError: there is an earlier run, but `resume` is false or its `run` differs; or an unwritable place.
        """
        self.folder = folder
        self.plan = plan
        self.batches = self.segments = 0
        run = json.loads(json.dumps({**run, "plan": plan._asdict()}))
        with os_errors_as_user_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.remove_if_empty()
        if folder.exists():
            self._check_same_run(run, resume)
            for leftover in folder.glob(".*"):  # temporary files of a killed run
                leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)
            self._count_finished()
        with os_errors_as_user_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RUN_FILE).exists():
            write_text(folder / RUN_FILE, json.dumps(run, indent=1))

    def _check_same_run(self, run: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise UserError(
                f"{self.folder} holds an interrupted run; continue it with --resume, or delete it to start again"
            )
        try:
            previous = {**LATER_FIELDS, **json.loads((self.folder / RUN_FILE).read_text())}
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.folder} is damaged ({error}); delete it to start again") from error
        changed = [name for name in run if previous.get(name) != run[name]]
        if changed:
            raise UserError(
                f"{self.folder} was created with another {', '.join(changed)}: use the same as then, or delete it to "
                "start again"
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
        """Stores the images uint8 (N, H, W, 3) of a batch, and the state after it, a pytree of arrays.

        Raises:
          UserError: the file system refuses.
        """
        leaves = {f"{index:06d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
        _save(self._file("state", number), leaves)
        _save(self._file("batch", number), {"images": images})
        self._file("state", number - 1).unlink(missing_ok=True)
        self.batches = number + 1

    def state(self, like: Any) -> Any:
        """The state after the last stored batch, with the pytree structure of `like`."""
        stored = _load(self._file("state", self.batches - 1))
        return jax.tree.unflatten(jax.tree.structure(like), [stored[name] for name in sorted(stored)])

    def images(self, number: int) -> np.ndarray:
        """The frames of a batch that is not yet in a segment."""
        return _load(self._file("batch", number))["images"]

    def add_segment(self, packed: PackedPackets) -> None:
        """Stores an encoded segment, and removes its raw frames.

        Raises:
          UserError: the file system refuses.
        """
        _save(self._file("segment", self.segments), packed)
        self.segments += 1
        per_segment = self.plan.per_segment
        for number in range((self.segments - 1) * per_segment, self.segments * per_segment):
            self._file("batch", number).unlink(missing_ok=True)

    def segment(self, number: int) -> PackedPackets:
        """A stored segment."""
        return _load(self._file("segment", number))

    def remove_if_empty(self) -> None:
        """Removes the folder if it holds no batch or segment, so that there is nothing to resume."""
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        if all(file.name == RUN_FILE or file.name.startswith((".", "state_")) for file in files):
            self.remove()

    def remove(self) -> None:
        """Removes the folder: the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def resume_path(output: Path) -> Path:
    """The resume folder of an output file; beside the file that a link leads to, since its parts are renamed to it."""
    target = follow_link(output)
    return target.with_name(f"{target.name}.part")


def segment_length(batch: int, rate: Fraction) -> int:
    """The frames of a segment: about two seconds, a multiple of the batch."""
    return batch * max(1, round(2 * rate / batch))


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    def write(name: Path) -> None:
        with name.open("wb") as file:  # NumPy would add a suffix to a name
            np.savez(file, **arrays)

    write_atomically(path, write)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # NumPy leaves a damaged file open
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); delete its folder to start again") from error
