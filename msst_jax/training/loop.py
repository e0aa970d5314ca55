"""The training loop: data in, steps on all devices, checkpoints, metrics and samples out; resumes by itself."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.images import save_picture
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.runtime.devices import on_any_host
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.training import checkpoints
from msst_jax.training.metrics import METRICS_FILE as RECORDS
from msst_jax.training.metrics import MetricsWriter, read_records
from msst_jax.training.step import (
    TrainState,
    build_optimizer,
    data_parallel,
    init_train_state,
    learning_rate_schedule,
    make_train_step,
    replicate,
    shard_batch,
)
from msst_jax.training.task import Task, Terms

HELD_OUT_PREFIX = "held_out_"  # names of the metrics of an evaluation begin so
DISPATCH_AHEAD = 2  # steps that the devices are ahead of what the host has read
MAX_SKIPPED = 10  # steps in a row that are not finite

StepObserver = Callable[[int, Terms, float], None]
"""Step, its metrics, seconds that it waited for its data."""
StateCallback = Callable[[int, TrainState], None]


class BatchIterator(Protocol):
    """Batches of this host, and where they stand."""

    def __next__(self) -> Any:
        """The next batch: leaves (photos of this host, ...)."""

    def get_state(self) -> Any:
        """JSON."""

    def set_state(self, state: Any) -> None:
        """Goes on from there."""


class TrainResult(NamedTuple):
    """How a run ended."""

    state: TrainState
    interrupted: bool


def check_batch_size(batch: int, devices: int) -> None:
    """Raises UserError unless a batch can be split over the devices of all hosts."""
    if batch % devices:
        nearest = max(1, round(batch / devices)) * devices
        raise UserError(f"config.batch is {batch}, which {devices} devices cannot share; use {nearest}")


def train(
    config: ConfigDict,
    task: Task,
    batches: BatchIterator,
    workdir: Path,
    *,
    quiet: bool = False,
) -> TrainResult:
    """Trains from the newest checkpoint in the workdir, or from the start, to config.steps. Ctrl-C ends it early.

    Args:
      config: see configs/fast.py.
      task: what is trained.
      batches: endless.
      workdir: gets checkpoints/, samples/, metrics.jsonl, event files, and as MODEL_FILE the averaged parameters:
        with every checkpoint or, if the task has a score, with every evaluation that is the best so far.
      quiet: no progress bar.

    Raises:
      UserError: ten steps in a row were not finite, or the disk is full.
    """
    optimizer = build_optimizer(config)
    state = init_train_state(task, optimizer, config.seed)
    folder = workdir / "checkpoints"
    with checkpoints.open_checkpoints(folder, keep_last=config.keep_last, keep_every=config.keep_every) as saved:
        if found := checkpoints.restore(saved, state):
            state = found[0]
            batches.set_state(found[1])
            logging.info("going on from step %d", state.step)
            _save_newest(task, workdir, state)  # a kill may have come between a checkpoint and its model

        def keep(step: int, state: TrainState) -> None:
            checkpoints.save(saved, step, state, batches.get_state())
            _save_newest(task, workdir, state)

        step = data_parallel(make_train_step(task.loss, optimizer, config.ema))
        with _records(config, task, workdir, int(state.step), quiet) as (observe, sample), interrupt_event() as stop:
            advance = partial(_advance, step, replicate(task.frozen))
            stopped = partial(_stopped, stop.is_set, config.log_every)
            state = _loop(config, advance, replicate(state), batches, observe, sample, keep, stopped)
    return TrainResult(state, int(state.step) < config.steps)


def _save_newest(task: Task, workdir: Path, state: TrainState) -> None:
    """Writes the model, unless an evaluation has chosen one."""
    if jax.process_index() == 0 and not (task.score and _best_score(task, workdir) > -math.inf):
        task.save(workdir / MODEL_FILE, jax.device_get(state.ema))


def _stopped(asked: Callable[[], bool], every: int, done: int) -> bool:
    """Whether to stop after step `done`. Several hosts agree on it now and then, for that makes them wait."""
    if jax.process_count() == 1:
        return asked()
    return done % every == 0 and on_any_host(asked())


def _advance(
    step: Callable[..., tuple[TrainState, Terms]], frozen: Any, state: TrainState, batch: Any
) -> tuple[TrainState, Terms]:
    return step(state, frozen, shard_batch(batch, jax.local_device_count()))


def _loop(
    config: ConfigDict,
    advance: Callable[[TrainState, Any], tuple[TrainState, Terms]],
    state: TrainState,
    batches: BatchIterator,
    observe: StepObserver,
    sample: StateCallback,
    keep: StateCallback,
    stopped: Callable[[int], bool],
) -> TrainState:
    """Steps until config.steps or `stopped`; the last one is kept too."""
    running: deque[tuple[int, Terms, float]] = deque()
    done = first = int(state.step)
    while done < config.steps and not stopped(done):
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        state, terms = advance(state, batch)
        done += 1
        running.append((done, terms, waited))
        if len(running) > DISPATCH_AHEAD:
            observe(*running.popleft())
        ends = done == config.steps
        if done % config.sample_every == 0 or ends:
            _drain(running, observe)  # so that the records come in order; the sample waits for the step anyway
            sample(done, state)
        if done % config.checkpoint_every == 0 or ends:
            _drain(running, observe)
            keep(done, state)
    _drain(running, observe)
    if done > first and done < config.steps and done % config.checkpoint_every:
        keep(done, state)
    return state


def _drain(running: deque[tuple[int, Terms, float]], observe: StepObserver) -> None:
    """A checkpoint is written only of steps that were looked at."""
    while running:
        observe(*running.popleft())


@contextmanager
def _records(
    config: ConfigDict, task: Task, workdir: Path, first: int, quiet: bool
) -> Iterator[tuple[StepObserver, StateCallback]]:
    """(observe, sample): what is written of steps and of parameters; only the first host writes."""
    if jax.process_index() > 0:
        yield _check_skipped, lambda step, state: None
        return
    rate = learning_rate_schedule(config)
    since: dict[str, float] = {"seconds": time.perf_counter(), "waited": 0.0, "step": first}
    hidden = quiet or not sys.stderr.isatty()
    metrics = MetricsWriter(workdir, first)
    with tqdm(initial=first, total=config.steps, unit="step", disable=hidden, dynamic_ncols=True) as bar:
        best = [_best_score(task, workdir)]

        def observe(step: int, terms: Terms, waited: float) -> None:
            _check_skipped(step, terms, waited)
            bar.update()
            since["waited"] += waited
            if step % config.log_every and step != config.steps:
                return
            now = time.perf_counter()
            seconds = now - since["seconds"]
            values = {name: float(value) for name, value in terms.items() if name != "skipped_in_a_row"}
            speed = {
                "photos_per_second": config.batch * (step - since["step"]) / seconds,
                "wait_share": since["waited"] / seconds,
            }
            metrics.scalars(step, {**values, "learning_rate": float(rate(_updates_before(step, terms))), **speed})
            bar.set_postfix_str(f"loss {values['loss']:.4g}", refresh=False)
            since.update(seconds=now, waited=0.0, step=step)

        def sample(step: int, state: TrainState) -> None:
            params = jax.device_get(state.ema)
            scalars, picture = task.evaluate(params)  # on one device, whatever the others do
            if task.score and scalars[task.score] > best[0]:
                best[0] = scalars[task.score]
                task.save(workdir / MODEL_FILE, params)
                logging.info("step %d: %s %.4f, the best so far", step, task.score, best[0])
            metrics.scalars(step, scalars, prefix=HELD_OUT_PREFIX)
            metrics.picture(step, "samples", picture)
            save_picture(picture, workdir / "samples" / f"{step:07d}.jpg")

        yield observe, sample


def _best_score(task: Task, workdir: Path) -> float:
    """The highest score that the records of a run have."""
    path = workdir / RECORDS
    scores = [record.get(HELD_OUT_PREFIX + task.score) for record in read_records(path)] if path.exists() else []
    return max((score for score in scores if score is not None), default=-math.inf)


def _updates_before(step: int, terms: Terms) -> int:
    """What the optimizer has counted, and takes the learning rate of: a skipped step leaves its count as it was."""
    return step - 1 - int(terms["skipped"]) + bool(terms["skipped_in_a_row"])


def _check_skipped(step: int, terms: Terms, _waited: float) -> None:
    """Reads the metrics of a step, and so waits for it.

    Raises:
      UserError: too many steps in a row were not finite.
    """
    if terms["skipped_in_a_row"] >= MAX_SKIPPED:
        raise UserError(
            f"the loss or its gradient was not finite in {MAX_SKIPPED} steps in a row, up to step {step}; the "
            "checkpoints before are whole: lower config.learning_rate, or use float32, in another --workdir or with "
            "--restart"
        )
