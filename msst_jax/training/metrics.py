"""Metrics writer of a training run: JSON lines and TensorBoard event files."""

import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from msst_jax.errors import UserError
from msst_jax.io.files import write_text

METRICS_FILE = "metrics.jsonl"
CHANCE = 1.25  # a factor by which the losses of single batches differ


class MetricsWriter:
    """Appends metrics to metrics.jsonl and a TensorBoard event file.

    On resuming, records after the checkpoint are dropped: their steps run again. A record is on disk when its call
    returns; tensorboardX's SummaryWriter writes in a thread, where a full disk could not be reported in one line.
    """

    def __init__(self, workdir: Path, step: int):
        """Opens the records of a run that continues from `step`.

        Raises:
          UserError: the disk is full, or refuses.
        """
        self.path = workdir / METRICS_FILE
        self.events = workdir / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        _drop_after(self.path, step)
        self._add_event(Event(file_version="brain.Event:2"))
        # Makes TensorBoard discard what earlier event files hold from this step on.
        self._add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        """Writes one record of scalars; values that are not finite become null in the JSON.

        Raises:
          UserError: the disk is full, or refuses.
        """
        named = {prefix + name: value for name, value in values.items()}
        record = {"step": step, **{name: value if math.isfinite(value) else None for name, value in named.items()}}
        _append(self.path, (json.dumps(record) + "\n").encode())
        entries = [entry for name, value in named.items() for entry in summary.scalar(name, value).value]
        self._add_event(Event(step=step, summary=Summary(value=entries)))

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Writes an image to the event file.

        Raises:
          UserError: the disk is full, or refuses.
        """
        content = summary.image(name, np.asarray(picture), dataformats="HWC")
        self._add_event(Event(step=step, summary=content))

    def _add_event(self, event: Event) -> None:
        event.wall_time = time.time()
        _append(self.events, _to_tfrecord(event.SerializeToString()))


def _to_tfrecord(data: bytes) -> bytes:
    """A TFRecord, the unit of event files: length and data, each followed by a checksum."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))])


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; free some space and start the same command again: it "
            "continues from the last checkpoint"
        ) from error


def read_records(path: Path) -> list[dict[str, float]]:
    """The records of a run; damaged lines are left out, such as the last one of a run that was killed."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [record for record in map(_parse, lines) if record is not None]


def _parse(line: str) -> dict[str, float] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def loss_rise(records: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    """(Loss at the start, at the end) of a run that got worse; None of any other.

    Batches differ, so that all losses of the last tenth of the records must be above the first one; if those are few,
    by CHANCE.
    """
    losses = [record["loss"] for record in records if record.get("loss") is not None]
    last = losses[-min(max(3, len(losses) // 10), len(losses) // 2) :]
    if len(losses) < 2 or min(last) <= losses[0] * (CHANCE if len(last) < 10 else 1):
        return None
    return losses[0], float(np.median(last))


def _drop_after(path: Path, step: int) -> None:
    """Removes the records of later steps."""
    if path.exists():
        records = read_records(path)
        damaged = path.read_bytes().count(b"\n") - len(records)  # the last line may be cut short by a kill
        if damaged > 0:
            logging.warning("%s: %d damaged lines are left out", path, damaged)
        kept = [record for record in records if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
