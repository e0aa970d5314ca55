"""What a training run writes while it runs: metrics of steps, samples of evaluations, and the best model."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from msst_jax.errors import DivergenceError
from msst_jax.io.finite import check_finite
from msst_jax.io.images import save_picture
from msst_jax.losses.objective import Terms
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.training.batches import TimedBatches
from msst_jax.training.metrics import METRICS_FILE, MetricsWriter, read_records
from msst_jax.training.options import LoopOptions
from msst_jax.training.step import TrainState, learning_rate_schedule
from msst_jax.training.task import Task
from msst_jax.training.throughput import StepCost

HELD_OUT_PREFIX = "held_out_"  # of the names of evaluation metrics
MAX_SKIPPED = 10  # consecutive non-finite steps that end the run

StepObserver = Callable[[int, Terms], None]
"""(step, its metrics)."""
StateCallback = Callable[[int, TrainState], None]
"""(step, the state after it)."""


class Bystander:
    """What takes the recorder's place on all hosts but the first, which write nothing."""

    def observe(self, step: int, terms: Terms) -> None:
        """Checks a step."""
        check_skipped(step, terms)

    def sample(self, step: int, state: TrainState) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Recorder:
    """Writes the metrics of steps, the samples of evaluations and the best model; shows the progress."""

    def __init__(
        self,
        options: LoopOptions,
        task: Task,
        workdir: Path,
        first: int,
        batches: TimedBatches,
        cost: Callable[[Any], StepCost],
        quiet: bool,
    ):
        """Opens the metrics and the progress bar, which is to be closed.

        Args:
          options: batch, steps and intervals.
          task: what is evaluated.
          workdir: the folder.
          first: the step that the run continues from.
          batches: what the host waits for.
          cost: of a step with batches of such shapes, see `step_cost`.
          quiet: no progress bar.
        """
        self.options = options
        self.task = task
        self.workdir = workdir
        self.batches = batches
        self.measure = cost
        self.cost = StepCost(0.0, None, 1)  # known from the first step on, whose trace it is read from
        self.metrics = MetricsWriter(workdir, first)
        hidden, steps = quiet or not sys.stderr.isatty(), options.optimization.steps
        self.bar = tqdm(initial=first, total=steps, unit="step", disable=hidden, dynamic_ncols=True)
        self.learning_rate = learning_rate_schedule(options.optimization)
        self.best = best_score(task, workdir)
        self.first = first
        self._set_out(first, time.perf_counter())

    def close(self) -> None:
        """Ends the progress bar."""
        self.bar.close()

    def observe(self, step: int, terms: Terms) -> None:
        """Checks a step, and records its metrics if one is due."""
        check_skipped(step, terms)
        self.bar.update()
        now = time.perf_counter()
        due = step % self.options.log_every == 0 or step == self.options.optimization.steps
        if step == self.first + 1:
            self.cost = self.measure(self.batches.shapes)
            logging.info("%s", self.cost.describe(now - self.last_time))
        if due:
            values = {name: float(value) for name, value in terms.items() if name != "skipped_in_a_row"}
            rate = {"learning_rate": float(self.learning_rate(_updates_before(step, terms)))}
            self.metrics.scalars(step, {**values, **rate, **self._speed(step, now)})
            self.bar.set_postfix_str(f"loss {values['loss']:.4g}", refresh=False)
        if step == self.first + 1:  # neither the compilation nor the measure is a part of the speed
            self._set_out(step, time.perf_counter())
        elif due:
            self._set_out(step, now)

    def _set_out(self, step: int, now: float) -> None:
        """The speed of the next record is that since this step."""
        self.last_step, self.last_time, self.last_waited = step, now, self.batches.waited

    def _speed(self, step: int, now: float) -> dict[str, float]:
        seconds, steps = now - self.last_time, step - self.last_step
        photos = self.options.batch * steps / seconds
        return {
            "photos_per_second": photos,
            "step_seconds": seconds / steps,
            "wait_share": (self.batches.waited - self.last_waited) / seconds,
            **self.cost.utilization(photos),
        }

    def sample(self, step: int, state: TrainState) -> None:
        """Evaluates the EMA parameters, and exports them if their score is the best so far.

        Raises:
          DivergenceError: their loss is not finite.
        """
        params = jax.device_get(state.ema)
        scalars, picture = self.task.evaluate(params)  # on one device; the others are idle meanwhile
        check_finite(scalars.get("loss", 0.0), f"at step {step} the loss on held-out photos is not finite")
        score = self.task.score
        if score and scalars[score] > self.best:
            self.best = scalars[score]
            self.task.save(self.workdir / MODEL_FILE, params)
            logging.info("step %d: %s %.4f, the best so far", step, score, self.best)
        self.metrics.scalars(step, scalars, prefix=HELD_OUT_PREFIX)
        self.metrics.picture(step, "samples", picture)
        save_picture(picture, self.workdir / "samples" / f"{step:07d}.jpg")


def best_score(task: Task, workdir: Path) -> float:
    """The highest score in the records of a run."""
    path = workdir / METRICS_FILE
    scores = [record.get(HELD_OUT_PREFIX + task.score) for record in read_records(path)] if path.exists() else []
    return max((score for score in scores if score is not None), default=-math.inf)


def _updates_before(step: int, terms: Terms) -> int:
    """The optimizer's step count before `step`, which sets the learning rate: skipped steps do not advance it."""
    return step - 1 - int(terms["skipped"]) + bool(terms["skipped_in_a_row"])


def check_skipped(step: int, terms: Terms) -> None:
    """Checks for non-finite steps; reading the metrics waits for the step.

    Raises:
      DivergenceError: too many consecutive steps were not finite.
    """
    if terms["skipped_in_a_row"] >= MAX_SKIPPED:
        raise DivergenceError(
            f"the loss or its gradient was not finite in {MAX_SKIPPED} steps in a row, up to step {step}"
        )
