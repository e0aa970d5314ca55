"""The loop: it learns any task, goes on exactly where it ended, and says why it stops."""

import json
import logging
import re
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.training import loop as training
from msst_jax.training.loop import check_batch_size, train
from msst_jax.training.step import TrainState
from msst_jax.training.task import Terms
from tests.helpers.training_runs import SLOPES, Points, curve, line_config, line_task


@pytest.fixture(autouse=True)
def all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def steps_of(workdir: Path) -> list[int]:
    return [record["step"] for record in curve(workdir) if "loss" in record]


def checkpoints_of(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def assert_same(one: TrainState, other: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when the metrics of a step have been read."""
    check = training._check_skipped

    def checked(done: int, *more: Any) -> None:
        if done == step:
            signal.raise_signal(signal.SIGINT)
        check(done, *more)

    monkeypatch.setattr(training, "_check_skipped", checked)


def test_a_task_of_its_own_is_learned_without_a_special_case(tmp_path: Path):
    config = line_config(steps=150, log_every=10, sample_every=75, checkpoint_every=50, ema=0.5)
    exported: list[Any] = []
    outcome = train(config, line_task(exported), Points(), tmp_path, quiet=True)
    assert not outcome.interrupted
    np.testing.assert_allclose(outcome.state.params["slopes"], SLOPES, atol=0.02)
    np.testing.assert_allclose(exported[-1]["slopes"], SLOPES, atol=0.02)
    assert isinstance(exported[-1]["slopes"], np.ndarray)
    assert steps_of(tmp_path) == list(range(10, 151, 10))
    assert checkpoints_of(tmp_path) == [50, 100, 150]
    shown = {record["step"]: record["held_out_error"] for record in curve(tmp_path) if "held_out_error" in record}
    assert shown.keys() == {75, 150}
    assert shown[150] < 0.02
    for step in shown:
        with Image.open(tmp_path / "samples" / f"{step:07d}.jpg") as sheet:
            assert sheet.size == (8, 8)
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert len(exported) == 3
    steps = [record["step"] for record in curve(tmp_path)]
    assert steps == sorted(steps)


def test_the_share_of_time_spent_waiting_for_data_is_reported(tmp_path: Path):
    train(line_config(), line_task(), Points(), tmp_path, quiet=True)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    waits = [record["wait_share"] for record in records if "loss" in record]
    assert len(waits) == 6
    assert all(0 <= wait <= 1 for wait in waits)
    assert all(record["photos_per_second"] > 0 for record in records if "loss" in record)


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch, caplog):
    config = line_config(steps=20, checkpoint_every=6, sample_every=7)
    whole = train(config, line_task(), Points(), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        interrupt_at(8, patched)
        first = train(config, line_task(), Points(), tmp_path / "parts", quiet=True)
    assert first.interrupted
    made = int(first.state.step)
    assert 8 <= made <= 11
    assert checkpoints_of(tmp_path / "parts") == [6, made]
    second = train(config, line_task(), Points(), tmp_path / "parts", quiet=True)
    assert f"going on from step {made}" in caplog.text
    assert not second.interrupted
    assert_same(second.state, whole.state)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_what_came_after_the_last_checkpoint_is_made_again_and_told_once(tmp_path: Path):
    config = line_config(steps=20, checkpoint_every=6)
    whole = train(config, line_task(), Points(), tmp_path / "whole", quiet=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "20")
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')  # a kill in the middle of a line
    again = train(config, line_task(), Points(), tmp_path / "killed", quiet=True)
    assert_same(again.state, whole.state)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_a_finished_run_does_nothing_but_export_its_model_again(tmp_path: Path):
    """A kill may come between the last checkpoint and its model."""
    whole = train(line_config(), line_task(), Points(), tmp_path, quiet=True)
    exported: list[Any] = []
    again = train(line_config(), line_task(exported), Points(), tmp_path, quiet=True)
    assert_same(again.state, whole.state)
    assert not again.interrupted
    assert len(exported) == 1
    np.testing.assert_array_equal(exported[0]["slopes"], whole.state.ema["slopes"])
    assert steps_of(tmp_path) == list(range(1, 7))


def test_with_a_score_the_best_parameters_are_saved_and_later_worse_ones_are_not(tmp_path: Path, caplog):
    """The learning rate is so high in the beginning that the error goes up and down."""
    config = line_config(steps=24, sample_every=2, checkpoint_every=24, learning_rate=1.0, warmup=0)
    saved: list[Any] = []
    train(config, line_task(saved, "likeness"), Points(), tmp_path, quiet=True)
    scores = [record["held_out_likeness"] for record in curve(tmp_path) if "held_out_likeness" in record]
    rising = [score for index, score in enumerate(scores) if score > max(scores[:index], default=-np.inf)]
    assert len(rising) < len(scores)
    assert [-np.abs(params["slopes"] - SLOPES).max() for params in saved] == pytest.approx(rising)
    assert caplog.text.count("the best so far") == len(rising)


def test_the_best_score_is_known_after_an_interruption(tmp_path: Path, monkeypatch):
    config = line_config(steps=24, sample_every=2, checkpoint_every=12, learning_rate=1.0, warmup=0)
    whole: list[Any] = []
    train(config, line_task(whole, "likeness"), Points(), tmp_path / "whole", quiet=True)
    parts: list[Any] = []
    with monkeypatch.context() as patched:
        interrupt_at(13, patched)
        train(config, line_task(parts, "likeness"), Points(), tmp_path / "parts", quiet=True)
    train(config, line_task(parts, "likeness"), Points(), tmp_path / "parts", quiet=True)
    assert [params["slopes"].tolist() for params in parts] == [params["slopes"].tolist() for params in whole]


def test_with_a_score_a_run_that_ends_before_its_first_evaluation_still_saves_a_model(tmp_path: Path, monkeypatch):
    saved: list[Any] = []
    interrupt_at(2, monkeypatch)
    outcome = train(line_config(steps=50), line_task(saved, "likeness"), Points(), tmp_path, quiet=True)
    assert outcome.interrupted
    assert len(saved) == 1


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_with_a_warning(tmp_path: Path, caplog):
    config = line_config(steps=9, checkpoint_every=3)
    whole = train(config, line_task(), Points(), tmp_path, quiet=True)
    before = curve(tmp_path)
    for file in (tmp_path / "checkpoints" / "9" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    again = train(config, line_task(), Points(), tmp_path, quiet=True)
    assert re.search(r"checkpoint 9 is damaged \([^\n]+\): falling back to the one before", caplog.text)
    assert "going on from step 6" in caplog.text
    assert_same(again.state, whole.state)
    assert curve(tmp_path) == before
    assert checkpoints_of(tmp_path) == [3, 6, 9]


def test_steps_that_are_not_finite_are_skipped_counted_and_do_not_stop_a_run(tmp_path: Path):
    bad = range(4, 4 + training.MAX_SKIPPED - 1)
    outcome = train(line_config(steps=30), line_task(), Points(bad=bad), tmp_path, quiet=True)
    assert int(outcome.state.skipped) == len(bad)
    records = curve(tmp_path)
    assert [record["step"] for record in records if "loss" in record and record["loss"] is None] == [n + 1 for n in bad]
    assert [record["skipped"] for record in records if "skipped" in record][-1] == len(bad)


def test_the_learning_rate_that_is_recorded_is_the_one_that_moved_the_parameters(tmp_path: Path):
    """Of a slope that is the same everywhere, Adam's step is the learning rate itself."""

    def loss(params: Any, frozen: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Terms]:
        return params["offset"] + 0 * jnp.sum(batch["y"]), {}

    config = line_config(steps=12, warmup=4)
    train(config, line_task()._replace(loss=loss), Points(bad=range(2, 5)), tmp_path, quiet=True)
    records = [record for record in curve(tmp_path) if "loss" in record]
    assert [record["step"] for record in records if record["loss"] is None] == [3, 4, 5]
    good = [record for record in records if record["loss"] is not None]
    moved = [before["loss"] - after["loss"] for before, after in pairwise(good)]
    np.testing.assert_allclose(moved, [record["learning_rate"] for record in good[:-1]], atol=1e-5)
    tried = [record["learning_rate"] for record in records[2:6]]
    assert tried == [tried[0]] * 4


def test_ten_steps_in_a_row_that_are_not_finite_stop_the_run_and_leave_whole_checkpoints(tmp_path: Path):
    config = line_config(steps=50, checkpoint_every=5)
    message = (
        r"the loss or its gradient was not finite in 10 steps in a row, up to step 16; the checkpoints before are "
        r"whole: lower config.learning_rate, or use float32"
    )
    with pytest.raises(UserError, match=message):
        train(config, line_task(), Points(bad=range(6, 50)), tmp_path, quiet=True)
    kept = checkpoints_of(tmp_path)
    assert kept[-1] == 15
    again = train(config, line_task(), Points(), tmp_path, quiet=True)
    assert np.all(np.isfinite(again.state.params["slopes"]))
    assert int(again.state.skipped) == 9


@pytest.mark.parametrize(("batch", "devices", "nearest"), [(6, 4, 8), (1, 4, 4), (9, 8, 8)])
def test_a_batch_that_the_devices_cannot_share_is_refused_with_one_that_they_can(
    batch: int, devices: int, nearest: int
):
    with pytest.raises(
        UserError, match=f"config.batch is {batch}, which {devices} devices cannot share; use {nearest}$"
    ):
        check_batch_size(batch, devices)
    check_batch_size(nearest, devices)
