"""The records of a run: event files that TensorBoard can read, and one line for a disk that is full."""

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from msst_jax.errors import UserError
from msst_jax.training.metrics import MetricsWriter
from tests.helpers.pictures import noise
from tests.helpers.training_runs import curve

FULL = Path("/dev/full")


def events_of(workdir: Path) -> list[Event]:
    """What the event file holds, its checksums checked."""
    (file,) = workdir.glob("events.out.tfevents.*")
    data, events = file.read_bytes(), []
    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        content, (check_of_content,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (check, check_of_content) == (masked_crc32c(data[:8]), masked_crc32c(content))
        events.append(Event.FromString(content))
        data = data[16 + length :]
    return events


def test_the_event_file_says_the_same_as_the_json_and_is_whole_after_every_record(tmp_path: Path):
    metrics = MetricsWriter(tmp_path, 0)
    told: list[dict[str, Any]] = [{"loss": 2.5, "rate": 0.25}, {"loss": math.nan, "rate": 0.5}]
    for step, values in enumerate(told, start=1):
        metrics.scalars(step, values, prefix="own_")
        event = events_of(tmp_path)[-1]
        found = {value.tag: value.simple_value for value in event.summary.value}
        np.testing.assert_equal(found, {"own_loss": values["loss"], "own_rate": values["rate"]})
        assert event.step == step
        assert event.wall_time > 0
    assert curve(tmp_path) == [
        {"step": 1, "own_loss": 2.5, "own_rate": 0.25},
        {"step": 2, "own_loss": None, "own_rate": 0.5},
    ]


def test_the_event_file_holds_the_pictures(tmp_path: Path):
    picture = noise(12, 20)
    MetricsWriter(tmp_path, 0).picture(7, "samples", Image.fromarray(picture))
    event = events_of(tmp_path)[-1]
    (value,) = event.summary.value
    assert (event.step, value.tag, value.image.width, value.image.height) == (7, "samples", 20, 12)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as found:
        np.testing.assert_array_equal(found, picture)


def test_a_run_that_goes_on_hides_the_steps_that_it_makes_again(tmp_path: Path):
    MetricsWriter(tmp_path, 6)
    first, second = events_of(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert (second.step, second.session_log.status) == (7, SessionLog.START)


@pytest.mark.parametrize("refuses", ["events", "path"])
def test_a_full_disk_is_a_line_that_names_the_file_and_says_how_to_go_on(tmp_path: Path, refuses: str):
    metrics = MetricsWriter(tmp_path, 0)
    setattr(metrics, refuses, FULL)
    message = "^cannot write /dev/full: No space left on device; free some space and start the same command again"
    with pytest.raises(UserError, match=message):
        metrics.scalars(1, {"loss": 1.0})


def test_a_full_disk_is_told_of_when_a_picture_is_written(tmp_path: Path):
    metrics = MetricsWriter(tmp_path, 0)
    metrics.events = FULL
    with pytest.raises(UserError, match="No space left on device"):
        metrics.picture(1, "samples", Image.new("RGB", (8, 8)))


def test_a_workdir_that_refuses_is_told_of_at_the_start(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot write .*nowhere/events.out.tfevents.*: No such file or directory"):
        MetricsWriter(tmp_path / "nowhere", 0)
