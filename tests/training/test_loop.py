"""The training loop: it learns any task, continues exactly where it ended, and reports why it stops."""

import json
import logging
import re
import shutil
import signal
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import DivergenceError, UserError
from msst_jax.training import loop, recorder
from msst_jax.training.loop import check_batch_size, train
from msst_jax.training.step import TrainState, learning_rate_schedule
from msst_jax.training.task import Evaluation, Terms
from msst_jax.training.throughput import StepCost
from tests.helpers.training_runs import SLOPES, Points, curve, line_options, line_task


@pytest.fixture(autouse=True)
def all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def logged_steps(workdir: Path) -> list[int]:
    return [record["step"] for record in curve(workdir) if "loss" in record]


def checkpoint_steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def assert_same(one: TrainState, other: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C once the metrics of a step have been read."""
    check = recorder.check_skipped

    def checked(done: int, *more: Any) -> None:
        if done == step:
            signal.raise_signal(signal.SIGINT)
        check(done, *more)

    monkeypatch.setattr(recorder, "check_skipped", checked)


def test_a_custom_task_is_learned_without_a_special_case(tmp_path: Path):
    options = line_options(steps=150, log_every=10, sample_every=75, checkpoint_every=50, ema=0.5)
    exported: list[Any] = []
    outcome = train(options, line_task(exported), Points(), tmp_path, quiet=True)
    assert not outcome.interrupted
    np.testing.assert_allclose(outcome.state.params["slopes"], SLOPES, atol=0.02)
    np.testing.assert_allclose(exported[-1]["slopes"], SLOPES, atol=0.02)
    assert isinstance(exported[-1]["slopes"], np.ndarray)
    assert logged_steps(tmp_path) == list(range(10, 151, 10))
    assert checkpoint_steps(tmp_path) == [50, 100, 150]
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
    train(line_options(), line_task(), Points(), tmp_path, quiet=True)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    waits = [record["wait_share"] for record in records if "loss" in record]
    assert len(waits) == 6
    assert all(0 <= wait <= 1 for wait in waits)
    assert all(record["photos_per_second"] > 0 for record in records if "loss" in record)


def test_counting_the_operations_of_a_step_is_no_part_of_the_speed(tmp_path: Path, monkeypatch):
    now = count()
    clock = SimpleNamespace(perf_counter=lambda: next(now))
    monkeypatch.setattr(recorder, "time", clock)

    def slow(*_: Any) -> StepCost:
        for _ in range(1000):
            clock.perf_counter()
        return StepCost(0.0, None, 1)

    monkeypatch.setattr(loop, "_step_cost", slow)
    train(line_options(steps=6, log_every=2), line_task(), Points(), tmp_path, quiet=True)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(record["step_seconds"] < 100 for record in records if "loss" in record)


def test_waiting_for_a_batch_counts_in_the_interval_in_which_it_occurs(tmp_path: Path, monkeypatch):
    clock = count()
    seconds = SimpleNamespace(perf_counter=lambda: next(clock))  # every reading of the clock takes one
    monkeypatch.setattr(recorder, "time", seconds)
    train(line_options(steps=6, log_every=1), line_task(), Points(), tmp_path, quiet=True)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= record["wait_share"] < 1 for record in records if "loss" in record)


def test_an_interrupted_run_continues_as_if_uninterrupted(tmp_path: Path, monkeypatch, caplog):
    options = line_options(steps=20, checkpoint_every=6, sample_every=7)
    whole = train(options, line_task(), Points(), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        interrupt_at(8, patched)
        first = train(options, line_task(), Points(), tmp_path / "parts", quiet=True)
    assert first.interrupted
    made = int(first.state.step)
    assert 8 <= made <= 11
    assert checkpoint_steps(tmp_path / "parts") == [6, made]
    second = train(options, line_task(), Points(), tmp_path / "parts", quiet=True)
    assert f"continuing from step {made}" in caplog.text
    assert not second.interrupted
    assert_same(second.state, whole.state)
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


def test_steps_after_the_last_checkpoint_are_recomputed_and_recorded_once(tmp_path: Path):
    options = line_options(steps=20, checkpoint_every=6)
    whole = train(options, line_task(), Points(), tmp_path / "whole", quiet=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "20")
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')  # a kill in the middle of a line
    again = train(options, line_task(), Points(), tmp_path / "killed", quiet=True)
    assert_same(again.state, whole.state)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_a_finished_run_only_exports_its_model_again(tmp_path: Path):
    """A kill may occur between the last checkpoint and its model."""
    whole = train(line_options(), line_task(), Points(), tmp_path, quiet=True)
    exported: list[Any] = []
    again = train(line_options(), line_task(exported), Points(), tmp_path, quiet=True)
    assert_same(again.state, whole.state)
    assert not again.interrupted
    assert len(exported) == 1
    np.testing.assert_array_equal(exported[0]["slopes"], whole.state.ema["slopes"])
    assert logged_steps(tmp_path) == list(range(1, 7))


def test_a_finished_run_goes_on_to_more_steps_along_their_schedule(tmp_path: Path):
    short = train(line_options(steps=6), line_task(), Points(), tmp_path, quiet=True)
    options = line_options(steps=12)
    longer = train(options, line_task(), Points(), tmp_path, quiet=True)
    assert (int(short.state.step), int(longer.state.step)) == (6, 12)
    assert logged_steps(tmp_path) == list(range(1, 13))
    rates = {record["step"]: record["learning_rate"] for record in curve(tmp_path) if "loss" in record}
    schedule = learning_rate_schedule(options.optimization)
    assert [rates[step] for step in range(7, 13)] == [float(schedule(step - 1)) for step in range(7, 13)]
    whole = train(options, line_task(), Points(), tmp_path / "whole", quiet=True)
    assert not np.array_equal(whole.state.params["slopes"], longer.state.params["slopes"])  # its first half was another


def test_with_a_score_the_best_parameters_are_saved_and_later_worse_ones_are_not(tmp_path: Path, caplog):
    """The initial learning rate is so high that the error oscillates."""
    options = line_options(steps=24, sample_every=2, checkpoint_every=24, learning_rate=1.0, warmup=0)
    saved: list[Any] = []
    train(options, line_task(saved, "likeness"), Points(), tmp_path, quiet=True)
    scores = [record["held_out_likeness"] for record in curve(tmp_path) if "held_out_likeness" in record]
    rising = [score for index, score in enumerate(scores) if score > max(scores[:index], default=-np.inf)]
    assert len(rising) < len(scores)
    assert [-np.abs(params["slopes"] - SLOPES).max() for params in saved] == pytest.approx(rising)
    assert caplog.text.count("the best so far") == len(rising)


def test_the_best_score_survives_an_interruption(tmp_path: Path, monkeypatch):
    options = line_options(steps=24, sample_every=2, checkpoint_every=12, learning_rate=1.0, warmup=0)
    whole: list[Any] = []
    train(options, line_task(whole, "likeness"), Points(), tmp_path / "whole", quiet=True)
    resumed: list[Any] = []
    with monkeypatch.context() as patched:
        interrupt_at(13, patched)
        train(options, line_task(resumed, "likeness"), Points(), tmp_path / "parts", quiet=True)
    train(options, line_task(resumed, "likeness"), Points(), tmp_path / "parts", quiet=True)
    assert [params["slopes"].tolist() for params in resumed] == [params["slopes"].tolist() for params in whole]


def test_with_a_score_a_run_that_ends_before_its_first_evaluation_still_saves_a_model(tmp_path: Path, monkeypatch):
    saved: list[Any] = []
    interrupt_at(2, monkeypatch)
    outcome = train(line_options(steps=50), line_task(saved, "likeness"), Points(), tmp_path, quiet=True)
    assert outcome.interrupted
    assert len(saved) == 1


def test_a_damaged_newest_checkpoint_falls_back_to_the_previous_one_with_a_warning(tmp_path: Path, caplog):
    options = line_options(steps=9, checkpoint_every=3)
    whole = train(options, line_task(), Points(), tmp_path, quiet=True)
    before = curve(tmp_path)
    for file in (tmp_path / "checkpoints" / "9" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    again = train(options, line_task(), Points(), tmp_path, quiet=True)
    assert re.search(r"checkpoint 9 is damaged \([^\n]+\): falling back to the previous one", caplog.text)
    assert "continuing from step 6" in caplog.text
    assert_same(again.state, whole.state)
    assert curve(tmp_path) == before
    assert checkpoint_steps(tmp_path) == [3, 6, 9]


def test_nonfinite_steps_are_skipped_and_counted_without_stopping_the_run(tmp_path: Path):
    bad = range(4, 4 + recorder.MAX_SKIPPED - 1)
    outcome = train(line_options(steps=30), line_task(), Points(bad=bad), tmp_path, quiet=True)
    assert int(outcome.state.skipped) == len(bad)
    records = curve(tmp_path)
    assert [record["step"] for record in records if "loss" in record and record["loss"] is None] == [n + 1 for n in bad]
    assert [record["skipped"] for record in records if "skipped" in record][-1] == len(bad)


def test_the_recorded_learning_rate_is_the_one_applied_to_the_parameters(tmp_path: Path):
    """For a constant gradient, Adam's step is the learning rate itself."""

    def loss(params: Any, frozen: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Terms]:
        return params["offset"] + 0 * jnp.sum(batch["y"]), {}

    options = line_options(steps=12, warmup=4)
    train(options, line_task()._replace(loss=loss), Points(bad=range(2, 5)), tmp_path, quiet=True)
    records = [record for record in curve(tmp_path) if "loss" in record]
    assert [record["step"] for record in records if record["loss"] is None] == [3, 4, 5]
    good = [record for record in records if record["loss"] is not None]
    moved = [before["loss"] - after["loss"] for before, after in pairwise(good)]
    np.testing.assert_allclose(moved, [record["learning_rate"] for record in good[:-1]], atol=1e-5)
    tried = [record["learning_rate"] for record in records[2:6]]
    assert tried == [tried[0]] * 4


def test_ten_nonfinite_steps_in_a_row_stop_the_run_and_keep_earlier_checkpoints(tmp_path: Path):
    options = line_options(steps=50, checkpoint_every=5)
    message = (
        r"the loss or its gradient was not finite in 10 steps in a row, up to step 16; the checkpoint of step 15 "
        r"is intact: lower config.learning_rate, or use float32"
    )
    with pytest.raises(DivergenceError, match=message):
        train(options, line_task(), Points(bad=range(6, 50)), tmp_path, quiet=True)
    kept = checkpoint_steps(tmp_path)
    assert kept[-1] == 15
    again = train(options, line_task(), Points(), tmp_path, quiet=True)
    assert np.all(np.isfinite(again.state.params["slopes"]))
    assert int(again.state.skipped) == 9


@pytest.mark.parametrize("score", ["", "likeness"])
@pytest.mark.parametrize("sample_every", [1, 100])
def test_weights_that_grow_too_large_end_the_run_before_they_are_written(tmp_path: Path, sample_every: int, score: str):
    """The first step of the warm-up has a learning rate of 0."""
    options = line_options(steps=6, learning_rate=1e8, checkpoint_every=1, sample_every=sample_every)
    saved: list[Any] = []
    message = (
        r"the training has diverged: at step 2 its weights are not finite, or too large to be stored; the "
        r"checkpoint of step 1 is intact: "
    )
    with pytest.raises(DivergenceError, match=message):
        train(options, line_task(saved, score), Points(), tmp_path, quiet=True)
    assert checkpoint_steps(tmp_path) == [1]
    assert saved
    assert all(np.all(np.abs(leaf) < 10) for params in saved for leaf in jax.tree.leaves(params))


def test_a_loss_on_held_out_photos_that_is_not_finite_ends_the_run_before_its_picture(tmp_path: Path):
    task = line_task()._replace(evaluate=lambda _: Evaluation({"loss": np.nan}, Image.new("RGB", (8, 8))))
    message = r"^at step 4 the loss on held-out photos is not finite; the checkpoint of step 2 is intact: "
    with pytest.raises(DivergenceError, match=message):
        train(line_options(sample_every=4), task, Points(), tmp_path, quiet=True)
    assert not (tmp_path / "samples").exists()
    assert checkpoint_steps(tmp_path) == [2]


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ({"learning_rate": 1e8}, "at step 2 its weights are not finite, or too large to be stored"),
        ({"bad": range(50)}, "not finite in 10 steps in a row, up to step 10"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_run_that_diverges_before_its_first_checkpoint_says_that_there_is_none(tmp_path: Path, cause, said: str):
    options = line_options(steps=50, checkpoint_every=50, sample_every=2, learning_rate=cause.get("learning_rate", 0.1))
    with pytest.raises(DivergenceError, match=f"{said}; there is no checkpoint yet: lower config.learning_rate"):
        train(options, line_task(), Points(bad=cause.get("bad", ())), tmp_path, quiet=True)
    assert checkpoint_steps(tmp_path) == []


METRICS_DAMAGE = {
    "half a line at the end": lambda text: text[:-9],
    "half a line in the middle": lambda text: text.replace('{"step": 3, ', "{", 1),
    "a line of zeros": lambda text: "\0" * 40 + "\n" + text,
    "no text": lambda text: text + "\udcff\udc81\n",
    "another kind of record": lambda text: text + '[1]\n7\n{"step": null}\n',
    "empty": lambda text: "",
}


@pytest.mark.parametrize("damage", METRICS_DAMAGE)
def test_damaged_metrics_lose_only_the_damaged_lines(tmp_path: Path, damage: str, caplog):
    whole = train(line_options(), line_task(), Points(), tmp_path, quiet=True)
    before = curve(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(METRICS_DAMAGE[damage](path.read_text()), errors="surrogateescape")
    again = train(line_options(steps=8), line_task(), Points(), tmp_path, quiet=True)
    assert (int(whole.state.step), int(again.state.step)) == (6, 8)
    records = curve(tmp_path)
    kept = [record for record in before if record in records]
    assert len(kept) == {"half a line at the end": 6, "half a line in the middle": 6, "empty": 0}.get(
        damage, len(before)
    )
    assert [record["step"] for record in records if record["step"] > 6] == [7, 8, 8]
    assert ("damaged lines are left out" in caplog.text) == (damage not in ("half a line at the end", "empty"))


def test_a_run_whose_checkpoints_are_gone_says_that_it_starts_again(tmp_path: Path, caplog):
    whole = train(line_options(), line_task(), Points(), tmp_path, quiet=True)
    shutil.rmtree(tmp_path / "checkpoints")
    again = train(line_options(), line_task(), Points(), tmp_path, quiet=True)
    assert f"there is no checkpoint in {tmp_path / 'checkpoints'}: starting from step 0" in caplog.messages
    assert_same(again.state, whole.state)


@pytest.mark.parametrize(("batch", "devices", "nearest"), [(6, 4, 8), (1, 4, 4), (9, 8, 8)])
def test_a_batch_not_divisible_by_the_devices_is_rejected_with_the_nearest_divisible_one(
    batch: int, devices: int, nearest: int
):
    with pytest.raises(UserError, match=f"config.batch is {batch}, not divisible by {devices} devices; use {nearest}$"):
        check_batch_size(batch, devices)
    check_batch_size(nearest, devices)
