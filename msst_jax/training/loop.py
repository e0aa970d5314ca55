"""The training loop: runs the steps, writes checkpoints, metrics and samples; resumes from the newest checkpoint."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

from msst_jax.errors import DivergenceError, UserError
from msst_jax.io.finite import check_finite
from msst_jax.io.images import save_picture
from msst_jax.losses.objective import Terms
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.runtime.devices import run_on_all_hosts
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.training import checkpoints
from msst_jax.training.metrics import METRICS_FILE, MetricsWriter, read_records
from msst_jax.training.options import LoopOptions
from msst_jax.training.step import (
    TrainState,
    build_train_optimizer,
    data_parallel,
    init_train_state,
    learning_rate_schedule,
    make_train_step,
    replicate,
    shard_batch,
)
from msst_jax.training.stopping import Stop, stop_of_run
from msst_jax.training.task import Task
from msst_jax.training.workdir import CHECKPOINTS, newest_checkpoint

HELD_OUT_PREFIX = "held_out_"  # of the names of evaluation metrics
DISPATCH_AHEAD = 2  # steps that the devices may run ahead of the host
MAX_SKIPPED = 10  # consecutive non-finite steps that end the run
WAY_OUT = "lower config.learning_rate, or use float32, in another --workdir or with --restart"  # of a divergence

StepObserver = Callable[[int, Terms], None]
"""(step, its metrics)."""
Advance = Callable[[TrainState, Any], tuple[TrainState, Terms]]
"""(state, batch of this host) to the next state and the metrics of the step."""
StateCallback = Callable[[int, TrainState], None]
"""(step, the state after it)."""


class BatchIterator(Protocol):
    """Endless batches of this host, with a position that can be saved."""

    def __next__(self) -> Any:
        """The next batch: leaves (photos of this host, ...)."""

    def get_state(self) -> Any:
        """The position, as JSON."""

    def set_state(self, state: Any) -> None:
        """Restores a position."""


class TrainResult(NamedTuple):
    """The final state of a run, and the signal that ended it early; 0 = none."""

    state: TrainState
    signal: int

    @property
    def interrupted(self) -> bool:
        """Whether steps are left."""
        return self.signal > 0


def check_batch_size(batch: int, devices: int) -> None:
    """Raises UserError unless the batch is divisible by the number of devices of all hosts."""
    if batch % devices:
        nearest = max(1, round(batch / devices)) * devices
        raise UserError(f"config.batch is {batch}, not divisible by {devices} devices; use {nearest}")


def train(
    options: LoopOptions,
    task: Task,
    batches: BatchIterator,
    workdir: Path,
    *,
    quiet: bool = False,
) -> TrainResult:
    """Trains from the newest checkpoint in the workdir, or from scratch, to the last step. Ctrl-C stops it early.

    On several hosts a signal to any of them stops all, after the same step.

    Args:
      options: see `LoopOptions`.
      task: the model, its loss and evaluation.
      batches: endless.
      workdir: receives checkpoints/, samples/, metrics.jsonl, event files, and the EMA parameters as MODEL_FILE: with
        every checkpoint or, if the task has a score, with every evaluation that is the best so far.
      quiet: no progress bar.

    Raises:
      DivergenceError: ten steps in a row, the weights, or the loss on held-out photos were not finite; nothing of that
        is written, earlier checkpoints stay, and the newest is named.
      UserError: no checkpoint can be read, or the disk is full.
    """
    optimizer = build_train_optimizer(options.optimization, task.rate)
    state = init_train_state(task, optimizer, options.seed)
    folder = workdir / CHECKPOINTS
    with (
        _naming_what_is_left(workdir),
        checkpoints.open_checkpoints(folder, keep_last=options.keep_last, keep_every=options.keep_every) as saved,
    ):
        if restored := checkpoints.restore(saved, state):
            state, position = restored
            batches.set_state(position)
            logging.info("continuing from step %d", state.step)
            _export_newest(task, workdir, state)  # the run may have been killed between a checkpoint and its export
        elif (workdir / METRICS_FILE).exists():
            logging.warning("there is no checkpoint in %s: starting from step 0", folder)

        def evaluate(step: int, state: TrainState) -> None:
            _check_storable(step, state)
            run_on_all_hosts(lambda: sample(step, state))

        def save_checkpoint(step: int, state: TrainState) -> None:
            _check_storable(step, state)
            checkpoints.save(saved, step, state, batches.get_state())
            _export_newest(task, workdir, state)

        step = make_train_step(task.loss, optimizer, options.optimization.ema)
        timed, first = _TimedBatches(batches), int(state.step)
        with _recording(options, task, workdir, first, timed, quiet) as (observe, sample), interrupt_event() as event:
            stop = stop_of_run(event)
            advance = _make_advance(data_parallel(stop.attach(step)), replicate(task.frozen), stop)
            state = replicate(state)
            state = _run_steps(options, advance, state, timed, observe, evaluate, save_checkpoint, stop)
    return TrainResult(state, stop.number if int(state.step) < options.optimization.steps else 0)


@contextmanager
def _naming_what_is_left(workdir: Path) -> Iterator[None]:
    """Adds to a DivergenceError which checkpoint the run has; to be entered first, since one may still be written."""
    try:
        yield
    except DivergenceError as error:
        step = newest_checkpoint(workdir)
        left = f"the checkpoint of step {step} is intact" if step else "there is no checkpoint yet"
        raise DivergenceError(f"{error}; {left}: {WAY_OUT}") from error


def _export_newest(task: Task, workdir: Path, state: TrainState) -> None:
    """Exports the EMA parameters, unless the task has a score and an evaluation has exported its best ones."""
    if jax.process_index() == 0 and not (task.score and _best_score(task, workdir) > -math.inf):
        task.save(workdir / MODEL_FILE, jax.device_get(state.ema))


def _check_storable(step: int, state: TrainState) -> None:
    """Raises DivergenceError, on all hosts, if weights are not finite or, if exported, too large for float16."""
    for weights, dtype in ((state.params, np.float32), (state.ema, np.float16)):
        largest = np.finfo(dtype).max
        if not all(np.all(np.abs(leaf) <= largest) for leaf in jax.tree.leaves(jax.device_get(weights))):
            raise DivergenceError(
                f"the training has diverged: at step {step} its weights are not finite, or too large to be stored"
            )


def _make_advance(step: Callable[..., tuple[TrainState, Terms]], frozen: Any, stop: Stop) -> Advance:
    def advance(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        return step(state, frozen, stop.with_batch(shard_batch(batch, jax.local_device_count())))

    return advance


def _run_steps(
    options: LoopOptions,
    advance: Advance,
    state: TrainState,
    batches: Iterator[Any],
    observe: StepObserver,
    sample: StateCallback,
    save_checkpoint: StateCallback,
    stop: Stop,
) -> TrainState:
    """Runs the steps up to the last one, or until `stop` has a signal; saves the final state in either case."""
    in_flight: deque[tuple[int, Terms]] = deque()
    step = first = int(state.step)
    last = options.optimization.steps
    while step < last and not stop.number:
        state, terms = advance(state, next(batches))
        step += 1
        in_flight.append((step, terms))
        if len(in_flight) > DISPATCH_AHEAD:
            _observe_first(in_flight, observe, stop)
        if step % options.sample_every == 0 or step == last:
            _observe_all(in_flight, observe, stop)  # keeps the records in order; the evaluation waits anyway
            sample(step, state)
        if step % options.checkpoint_every == 0 or step == last:
            _observe_all(in_flight, observe, stop)
            save_checkpoint(step, state)
    _observe_all(in_flight, observe, stop)
    if first < step < last and step % options.checkpoint_every:
        save_checkpoint(step, state)
    return state


class _TimedBatches(Iterator[Any]):
    """Batches, and how long the host has waited for them.

    Attributes:
      waited: seconds. Counted when they pass and not with the step that the batch is for, which is observed later: a
        wait would be counted in the interval after its own, and its share of that could exceed 1.
    """

    def __init__(self, batches: BatchIterator):
        self.batches = batches
        self.waited = 0.0

    def __next__(self) -> Any:
        started = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - started
        return batch


def _observe_all(in_flight: deque[tuple[int, Terms]], observe: StepObserver, stop: Stop) -> None:
    """Observes all dispatched steps, so that a checkpoint is written only of steps whose metrics were checked."""
    while in_flight:
        _observe_first(in_flight, observe, stop)


def _observe_first(in_flight: deque[tuple[int, Terms]], observe: StepObserver, stop: Stop) -> None:
    step, terms = in_flight.popleft()
    observe(step, stop.observe(terms))


@contextmanager
def _recording(
    options: LoopOptions, task: Task, workdir: Path, first: int, batches: "_TimedBatches", quiet: bool
) -> Iterator[tuple[StepObserver, StateCallback]]:
    """(observe, sample): callbacks that record the metrics of steps and evaluate parameters; only host 0 writes."""
    if jax.process_index() > 0:
        yield _check_skipped, lambda step, state: None
        return
    hidden = quiet or not sys.stderr.isatty()
    metrics = MetricsWriter(workdir, first)
    with tqdm(initial=first, total=options.optimization.steps, unit="step", disable=hidden, dynamic_ncols=True) as bar:
        recorder = _Recorder(options, task, workdir, first, batches, metrics, bar)
        yield recorder.observe, recorder.sample


class _Recorder:
    """Writes the metrics of steps, the samples of evaluations and the best model."""

    def __init__(
        self,
        options: LoopOptions,
        task: Task,
        workdir: Path,
        first: int,
        batches: "_TimedBatches",
        metrics: MetricsWriter,
        bar: tqdm,
    ):
        self.options = options
        self.task = task
        self.workdir = workdir
        self.batches = batches
        self.metrics = metrics
        self.bar = bar
        self.learning_rate = learning_rate_schedule(options.optimization)
        self.best = _best_score(task, workdir)
        self.last_step = first  # step, time and seconds waited as of the previous record
        self.last_time = time.perf_counter()
        self.last_waited = batches.waited

    def observe(self, step: int, terms: Terms) -> None:
        """Checks a step, and records its metrics if one is due."""
        _check_skipped(step, terms)
        self.bar.update()
        if step % self.options.log_every and step != self.options.optimization.steps:
            return
        now, waited = time.perf_counter(), self.batches.waited
        seconds = now - self.last_time
        values = {name: float(value) for name, value in terms.items() if name != "skipped_in_a_row"}
        scalars = {
            **values,
            "learning_rate": float(self.learning_rate(_updates_before(step, terms))),
            "photos_per_second": self.options.batch * (step - self.last_step) / seconds,
            "wait_share": (waited - self.last_waited) / seconds,
        }
        self.metrics.scalars(step, scalars)
        self.bar.set_postfix_str(f"loss {values['loss']:.4g}", refresh=False)
        self.last_step, self.last_time, self.last_waited = step, now, waited

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


def _best_score(task: Task, workdir: Path) -> float:
    """The highest score in the records of a run."""
    path = workdir / METRICS_FILE
    scores = [record.get(HELD_OUT_PREFIX + task.score) for record in read_records(path)] if path.exists() else []
    return max((score for score in scores if score is not None), default=-math.inf)


def _updates_before(step: int, terms: Terms) -> int:
    """The optimizer's step count before `step`, which sets the learning rate: skipped steps do not advance it."""
    return step - 1 - int(terms["skipped"]) + bool(terms["skipped_in_a_row"])


def _check_skipped(step: int, terms: Terms) -> None:
    """Checks for non-finite steps; reading the metrics waits for the step.

    Raises:
      DivergenceError: too many consecutive steps were not finite.
    """
    if terms["skipped_in_a_row"] >= MAX_SKIPPED:
        raise DivergenceError(
            f"the loss or its gradient was not finite in {MAX_SKIPPED} steps in a row, up to step {step}"
        )
