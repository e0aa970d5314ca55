"""Traces some steps of a run, for TensorBoard's profile page (XProf)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from absl import logging

from msst_jax.errors import UserError

WARM_UP = 3  # steps before the trace: the first one compiles, and the devices run two ahead of the host

Advance = Callable[[Any, Any], tuple[Any, Any]]
"""(state, batch of this host) to the next state and the metrics of the step."""


@contextmanager
def profiled(advance: Advance, folder: Path, steps: int, first: int) -> Iterator[Advance]:
    """A step that traces itself some times, on host 0: after WARM_UP calls, so many of them.

    Args:
      advance: the step.
      folder: receives plugins/profile/TIME/, where TensorBoard finds it.
      steps: that are traced; 0 = none, and the step is unchanged.
      first: the number of steps done before.

    Raises:
      UserError: the folder cannot be written.
    """
    if not steps or jax.process_index() > 0:
        yield advance
        return
    trace = _Trace(advance, folder, steps, first)
    try:
        yield trace
    finally:
        trace.stop()
    if trace.calls <= WARM_UP:
        logging.warning("there is no trace: it begins after %d steps, and this call took %d", WARM_UP, trace.calls)


class _Trace:
    """A step that counts its calls, and starts and stops the trace."""

    def __init__(self, advance: Advance, folder: Path, steps: int, first: int):
        self.advance = advance
        self.folder = folder
        self.steps = steps
        self.first = first
        self.calls = 0
        self.running = False

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """One step."""
        if self.calls == WARM_UP:
            jax.block_until_ready(state)  # what was dispatched before is no part of the trace
            jax.profiler.start_trace(self.folder)
            self.running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=self.first + self.calls):
            state, terms = self.advance(state, batch)
        self.calls += 1
        if self.calls == WARM_UP + self.steps:
            jax.block_until_ready(terms)
            self.stop()
        return state, terms

    def stop(self) -> None:
        """Writes the trace, if one is running: a run that ends before leaves the steps that it had."""
        if not self.running:
            return
        self.running = False
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            raise UserError(f"cannot write the trace to {self.folder} ({error}); free some space") from error
        logging.info("trace of %d steps: tensorboard --logdir %s", self.calls - WARM_UP, self.folder)
