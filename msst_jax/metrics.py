"""Metrics of a training run: one line of JSON a record, and TensorBoard event files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from msst_jax.errors import UserError
from msst_jax.files import write_atomically

FILE = "metrics.jsonl"


class MetricsWriter:
    """Appends to the records of a run; use as a context.

    On resuming, records after the checkpoint are dropped: their steps are made again.
    """

    def __init__(self, workdir: Path, step: int):
        """Opens the records of a run that goes on from `step`."""
        self.path = workdir / FILE
        _drop_after(self.path, step)
        self.events = SummaryWriter(str(workdir), purge_step=step + 1, flush_secs=30)

    def __enter__(self) -> "MetricsWriter":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the event file."""
        self.events.close()

    def scalars(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        """One record; values that are not finite become null in the JSON.

        Raises:
          UserError: the disk is full, or refuses.
        """
        record: dict[str, float | None] = {"step": step}
        for name, value in values.items():
            record[prefix + name] = value if math.isfinite(value) else None
            self.events.add_scalar(prefix + name, value, step)
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; start the same command again then") from error

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """A picture in TensorBoard."""
        self.events.add_image(name, np.asarray(picture), step, dataformats="HWC")


def read_records(path: Path) -> list[dict[str, float]]:
    """The records of a run; a last line that a kill cut short is left out."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        kept = [record for record in read_records(path) if record["step"] <= step]
        write_atomically(path, lambda name: _write(name, "".join(json.dumps(record) + "\n" for record in kept)))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
