"""The training loop: runs the steps, writes checkpoints, metrics and samples; resumes from the newest checkpoint."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from msst_jax.errors import DivergenceError, UserError
from msst_jax.losses.objective import Terms
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.runtime.devices import run_on_all_hosts
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.training import checkpoints
from msst_jax.training.batches import BatchIterator, TimedBatches
from msst_jax.training.metrics import METRICS_FILE
from msst_jax.training.options import LoopOptions
from msst_jax.training.profile import Advance, profiled
from msst_jax.training.recorder import Bystander, Recorder, StateCallback, StepObserver, best_score
from msst_jax.training.shared_inputs import check_same_step
from msst_jax.training.step import (
    TrainState,
    build_train_optimizer,
    data_parallel,
    init_train_state,
    make_train_step,
    replicate,
    shard_batch,
)
from msst_jax.training.stopping import Stop, stop_of_run
from msst_jax.training.task import Task
from msst_jax.training.throughput import StepCost, step_cost
from msst_jax.training.workdir import CHECKPOINTS, PROFILE, newest_checkpoint

DISPATCH_AHEAD = 2  # steps that the devices may run ahead of the host
WAY_OUT = "lower config.learning_rate, or use float32, in another --workdir or with --restart"  # of a divergence


class TrainResult(NamedTuple):
    """The final state of a run, and the signal that ended it early; 0 = none."""

    state: TrainState
    signal: int

    @property
    def interrupted(self) -> bool:
        """Whether steps are left."""
        return self.signal > 0


def check_batch_size(batch: int, devices: int, accumulate: int = 1) -> None:
    """Raises UserError unless the batch is divisible by the devices of all hosts, times the parts that each takes."""
    parts = devices * accumulate
    if batch % parts:
        nearest = max(1, round(batch / parts)) * parts
        what = f"{devices} devices" + (f" times {accumulate} of config.accumulate" if accumulate > 1 else "")
        raise UserError(f"config.batch is {batch}, not divisible by {what}; use {nearest}")


def train(
    options: LoopOptions,
    task: Task,
    batches: BatchIterator,
    workdir: Path,
    *,
    quiet: bool = False,
    profile: int = 0,
    mirror: Callable[[], None] | None = None,
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
      profile: number of steps of this call that are traced, into profile/; 0 = none.
      mirror: called after every checkpoint, once it is on disk; the workdir is a folder of this host alone then.

    Raises:
      DivergenceError: ten steps in a row, the weights, or the loss on held-out photos were not finite; nothing of that
        is written, earlier checkpoints stay, and the newest is named.
      UserError: no checkpoint can be read, or the disk is full.
    """
    optimizer = build_train_optimizer(options.optimization, task.rate)
    state = init_train_state(task, optimizer, options.seed)
    kept = {"keep_last": options.keep_last, "keep_every": options.keep_every}
    opened = checkpoints.open_checkpoints(workdir / CHECKPOINTS, **kept, own_disk=mirror is not None)
    with _naming_what_is_left(workdir), opened as saved:
        state = _restore(saved, state, batches, task, workdir)

        def evaluate(step: int, state: TrainState) -> None:
            _check_storable(step, state)
            run_on_all_hosts(lambda: recorder.sample(step, state))

        def save_checkpoint(step: int, state: TrainState) -> None:
            _check_storable(step, state)
            checkpoints.save(saved, step, state, batches.get_state())
            _export_newest(task, workdir, state)
            if mirror:
                checkpoints.wait(saved)
                run_on_all_hosts(mirror)

        with interrupt_event() as event:
            stop = stop_of_run(event)
            step = make_train_step(task.loss, optimizer, options.optimization.ema, options.accumulate)
            mapped, frozen = data_parallel(stop.attach(step)), replicate(task.frozen)
            timed, first = TimedBatches(batches), int(state.step)
            cost = partial(_step_cost, mapped, stop, jax.eval_shape(lambda: state), frozen, options.batch)
            advance = _make_advance(mapped, frozen, stop)
            main = jax.process_index() == 0
            recorder = Recorder(options, task, workdir, first, timed, cost, quiet) if main else Bystander()
            with closing(recorder), profiled(advance, workdir / PROFILE, profile, first) as advance:
                state = replicate(state)
                state = _run_steps(options, advance, state, timed, recorder.observe, evaluate, save_checkpoint, stop)
    return TrainResult(state, stop.number if int(state.step) < options.optimization.steps else 0)


def _restore(
    saved: checkpoints.Checkpointer, state: TrainState, batches: BatchIterator, task: Task, workdir: Path
) -> TrainState:
    """The state of the newest checkpoint, with the batches at its position; the given one if there is none."""
    check_same_step(newest_checkpoint(workdir))
    if restored := checkpoints.restore(saved, state):
        state, position = restored
        batches.set_state(position)
        logging.info("continuing from step %d", state.step)
        _export_newest(task, workdir, state)  # the run may have been killed between a checkpoint and its export
    elif (workdir / METRICS_FILE).exists():
        logging.warning("there is no checkpoint in %s: starting from step 0", workdir / CHECKPOINTS)
    return state


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
    if jax.process_index() == 0 and not (task.score and best_score(task, workdir) > -math.inf):
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


def _step_cost(step: Callable[..., Any], stop: Stop, state: Any, frozen: Any, photos: int, batch: Any) -> StepCost:
    """The cost of a step with a batch of this host of such shapes."""
    shards = jax.eval_shape(lambda whole: stop.with_batch(shard_batch(whole, jax.local_device_count())), batch)
    return step_cost(step, (state, frozen, shards), photos)


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


def _observe_all(in_flight: deque[tuple[int, Terms]], observe: StepObserver, stop: Stop) -> None:
    """Observes all dispatched steps, so that a checkpoint is written only of steps whose metrics were checked."""
    while in_flight:
        _observe_first(in_flight, observe, stop)


def _observe_first(in_flight: deque[tuple[int, Terms]], observe: StepObserver, stop: Stop) -> None:
    step, terms = in_flight.popleft()
    observe(step, stop.observe(terms))
