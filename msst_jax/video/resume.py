"""What was made of a clip, kept beside the output until it is complete, so that an interrupted run can go on."""

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
from msst_jax.io.files import os_errors_as_user_errors, write_atomically, write_text
from msst_jax.video.io.segments import PackedPackets

RUN_FILE = "run.json"
LATER_FIELDS = {"config.remat": False, "config.precondition": 0.0}
"""What runs did not know at first, and what they did then."""


class ChunkPlan(NamedTuple):
    """How the frames of a clip are divided.

    Attributes:
      batch: frames that are made together.
      segment: frames that are encoded together, a multiple of `batch`; 0 = frames are kept as they are to the end.
    """

    batch: int
    segment: int

    @property
    def per_segment(self) -> int:
        """Batches of a segment; 0 = there are no segments."""
        return self.segment // self.batch


class ResumeFolder:
    """A folder of finished batches and segments.

    A batch is kept as its frames until the segment that it belongs to is encoded, and with the last one what the next
    must know. So the folder holds little more than the output will; without segments, all frames as they are, 3 bytes a
    pixel.

    Attributes:
      batches: how many batches are there, from the first on.
      segments: how many segments are.
    """

    def __init__(self, folder: Path, plan: ChunkPlan, run: Mapping[str, Any], *, resume: bool):
        """Begins a folder, or goes on with one.

        Args:
          folder: see `resume_path`.
          plan: must be that of the run before.
          run: all that the result depends on, as JSON.
          resume: go on with what is there, if anything is.

        Raises:
          UserError: parts are there that nobody asked to go on with, or that another run made; or an unwritable place.
        """
        self.folder = folder
        self.plan = plan
        self.batches = self.segments = 0
        run = json.loads(json.dumps({**run, "plan": plan._asdict()}))
        with os_errors_as_user_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.forget_if_nothing_is_kept()
        if folder.exists():
            self._check(run, resume)
            for left in folder.glob(".*"):  # what was being written when a run was killed
                left.unlink() if left.is_file() else shutil.rmtree(left)
            self._count()
        with os_errors_as_user_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RUN_FILE).exists():
            write_text(folder / RUN_FILE, json.dumps(run, indent=1))

    def _check(self, run: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise UserError(
                f"{self.folder} holds what an interrupted run made; go on with --resume, or delete it to begin anew"
            )
        try:
            before = {**LATER_FIELDS, **json.loads((self.folder / RUN_FILE).read_text())}
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.folder} is damaged ({error}); delete it to begin anew") from error
        changed = [name for name in run if before.get(name) != run[name]]
        if changed:
            raise UserError(
                f"{self.folder} was made with another {', '.join(changed)}: give what was given then, or delete it to "
                "begin anew"
            )

    def _count(self) -> None:
        while self.plan.segment and self._file("segment", self.segments).exists():
            self.segments += 1
        self.batches = self.segments * self.plan.per_segment
        while self._file("batch", self.batches).exists():
            self.batches += 1
        while self.batches and not self._file("state", self.batches - 1).exists():
            self.batches -= 1  # killed between the writing of a batch and of its segment

    def _file(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}_{number:06d}.npz"

    def add_batch(self, number: int, images: np.ndarray, state: Any) -> None:
        """Keeps the images uint8 (N, H, W, 3) of a batch, and the state after it, a pytree of arrays.

        Raises:
          UserError: the file system refuses.
        """
        leaves = {f"{index:06d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(state))}
        _save(self._file("state", number), leaves)
        _save(self._file("batch", number), {"images": images})
        self._file("state", number - 1).unlink(missing_ok=True)
        self.batches = number + 1

    def state(self, like: Any) -> Any:
        """The state after the last batch that is kept; a pytree like another."""
        stored = _load(self._file("state", self.batches - 1))
        return jax.tree.unflatten(jax.tree.structure(like), [stored[name] for name in sorted(stored)])

    def images(self, number: int) -> np.ndarray:
        """The images of a batch that no segment holds yet."""
        return _load(self._file("batch", number))["images"]

    def add_segment(self, packed: PackedPackets) -> None:
        """Keeps a segment, and lets go of the images in it.

        Raises:
          UserError: the file system refuses.
        """
        _save(self._file("segment", self.segments), packed)
        self.segments += 1
        per_segment = self.plan.per_segment
        for number in range((self.segments - 1) * per_segment, self.segments * per_segment):
            self._file("batch", number).unlink(missing_ok=True)

    def segment(self, number: int) -> PackedPackets:
        """A segment that is kept."""
        return _load(self._file("segment", number))

    def forget_if_nothing_is_kept(self) -> None:
        """Removes the folder of a run that failed before its first batch: there is nothing to go on with."""
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        if all(file.name == RUN_FILE or file.name.startswith((".", "state_")) for file in files):
            self.remove()

    def remove(self) -> None:
        """All of it: the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def resume_path(output: Path) -> Path:
    """Where the parts of an output lie."""
    return output.with_name(f"{output.name}.part")


def segment_length(batch: int, rate: Fraction) -> int:
    """About two seconds, in whole batches."""
    return batch * max(1, round(2 * rate / batch))


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    def write(name: Path) -> None:
        with name.open("wb") as file:  # NumPy would add an ending to a name
            np.savez(file, **arrays)

    write_atomically(path, write)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # of a damaged one NumPy leaves its own open
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); delete its folder to begin anew") from error
