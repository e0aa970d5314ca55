"""The metrics of a run: event files that TensorBoard can read, and a one-line error if the disk is full."""

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
from msst_jax.training.metrics import MetricsWriter, loss_rise
from tests.helpers.pictures import noise
from tests.helpers.training_runs import curve

FULL = Path("/dev/full")


def read_events(workdir: Path) -> list[Event]:
    """The events of the event file, with their checksums verified."""
    (file,) = workdir.glob("events.out.tfevents.*")
    data, events = file.read_bytes(), []
    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        content, (content_check,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (check, content_check) == (masked_crc32c(data[:8]), masked_crc32c(content))
        events.append(Event.FromString(content))
        data = data[16 + length :]
    return events


def test_the_event_file_equals_the_json_and_is_complete_after_every_record(tmp_path: Path):
    metrics = MetricsWriter(tmp_path, 0)
    reported: list[dict[str, Any]] = [{"loss": 2.5, "rate": 0.25}, {"loss": math.nan, "rate": 0.5}]
    for step, values in enumerate(reported, start=1):
        metrics.scalars(step, values, prefix="own_")
        event = read_events(tmp_path)[-1]
        found = {value.tag: value.simple_value for value in event.summary.value}
        np.testing.assert_equal(found, {"own_loss": values["loss"], "own_rate": values["rate"]})
        assert event.step == step
        assert event.wall_time > 0
    assert curve(tmp_path) == [
        {"step": 1, "own_loss": 2.5, "own_rate": 0.25},
        {"step": 2, "own_loss": None, "own_rate": 0.5},
    ]


def test_the_event_file_holds_the_sample_images(tmp_path: Path):
    picture = noise(12, 20)
    MetricsWriter(tmp_path, 0).picture(7, "samples", Image.fromarray(picture))
    event = read_events(tmp_path)[-1]
    (value,) = event.summary.value
    assert (event.step, value.tag, value.image.width, value.image.height) == (7, "samples", 20, 12)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as found:
        np.testing.assert_array_equal(found, picture)


def test_a_resumed_run_hides_the_steps_that_it_recomputes(tmp_path: Path):
    MetricsWriter(tmp_path, 6)
    first, second = read_events(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert (second.step, second.session_log.status) == (7, SessionLog.START)


@pytest.mark.parametrize("full", ["events", "path"])
def test_a_full_disk_is_a_one_line_error_that_says_how_to_continue(tmp_path: Path, full: str):
    metrics = MetricsWriter(tmp_path, 0)
    setattr(metrics, full, FULL)
    message = "^cannot write /dev/full: No space left on device; free some space and start the same command again"
    with pytest.raises(UserError, match=message):
        metrics.scalars(1, {"loss": 1.0})


def test_a_full_disk_is_reported_when_an_image_is_written(tmp_path: Path):
    metrics = MetricsWriter(tmp_path, 0)
    metrics.events = FULL
    with pytest.raises(UserError, match="No space left on device"):
        metrics.picture(1, "samples", Image.new("RGB", (8, 8)))


def test_an_unwritable_workdir_is_reported_at_the_start(tmp_path: Path):
    with pytest.raises(UserError, match=r"cannot write .*nowhere/events.out.tfevents.*: No such file or directory"):
        MetricsWriter(tmp_path / "nowhere", 0)


@pytest.mark.parametrize(
    ("losses", "rise"),
    [
        ([], None),
        ([1.0], None),
        ([3.0, 2.0], None),
        ([2.0, 3.0], (2.0, 3.0)),
        ([70.0, 73.0, 889.0, 888.0, 887.0, 889.0], (70.0, 888.0)),
        ([70.0, 73.0, 60.0, 72.0, 80.0, 74.0], None),
        ([None, 5.0, None, 7.0], (5.0, 7.0)),
        ([10.0] * 10 + [1.0] * 80 + [9.0] * 10, None),
        ([10.0] * 10 + [1.0] * 80 + [11.0] * 10, (10.0, 11.0)),
    ],
    ids=["none", "one", "better", "worse", "diverged", "by chance", "skipped", "late", "late and worse"],
)
def test_a_run_that_got_worse_is_known_by_its_losses(losses: list[float | None], rise: tuple[float, float] | None):
    records: list[Any] = [{"step": step, "loss": loss} for step, loss in enumerate(losses)]
    assert loss_rise([*records, {"step": 9, "held_out_loss": 1e9}]) == rise
