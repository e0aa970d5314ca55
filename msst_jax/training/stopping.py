"""How a run that is told to stop does so: on several hosts after the same step, whichever host the signal reached."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jax import lax

from msst_jax.runtime.interrupt import InterruptEvent
from msst_jax.training.step import AXIS
from msst_jax.training.task import Batch

STOP = "stop_signal"
"""Metric of a step: the highest number of a signal that a host had received before it; 0 = none."""

Step = Callable[..., Any]


class Stop(Protocol):
    """When the loop ends early."""

    def attach(self, step: Step) -> Step:
        """A step of `make_train_step`, before it is pmapped, with what the stop needs of it."""

    def with_batch(self, batch: Batch) -> Any:
        """What the attached step takes for a batch with leaves (devices of this host, ...)."""

    def observe(self, terms: dict[str, Any]) -> dict[str, Any]:
        """Reads the metrics of a step that has been run; returns those of the step itself."""

    @property
    def number(self) -> int:
        """The signal for which the loop is to end before the next step; 0 = it goes on."""


class OwnStop:
    """That of a run on one host: its own signal, at once."""

    def __init__(self, event: InterruptEvent):
        self._event = event

    def attach(self, step: Step) -> Step:
        """The step as it is."""
        return step

    def with_batch(self, batch: Batch) -> Any:
        """The batch as it is."""
        return batch

    def observe(self, terms: dict[str, Any]) -> dict[str, Any]:
        """The metrics as they are."""
        return terms

    @property
    def number(self) -> int:
        """The signal that this process received."""
        return self._event.number


class AgreedStop:
    """That of a run on several hosts: every step tells all of them which signals any of them has received.

    The number travels with the gradients, so that it costs no synchronization of its own, and all hosts read it with
    the metrics of the same step: they end a few steps after the signal, and all after the same one. A collective of its
    own would wait, every time, for the slowest host and for the steps that the devices run ahead.
    """

    def __init__(self, event: InterruptEvent):
        self._event = event
        self._agreed = 0

    def attach(self, step: Step) -> Step:
        """The step with this host's signal beside the batch, and the highest one of all as a further metric."""

        def attached(state: Any, frozen: Any, batch_and_signal: tuple[Batch, jax.Array]) -> Any:
            batch, received = batch_and_signal
            state, terms = step(state, frozen, batch)
            return state, {**terms, STOP: lax.pmax(received, AXIS)}

        return attached

    def with_batch(self, batch: Batch) -> Any:
        """(The batch, this process's signal for each of its devices)."""
        return batch, np.full(jax.local_device_count(), self._event.number, np.int32)

    def observe(self, terms: dict[str, Any]) -> dict[str, Any]:
        """Takes the highest signal out of the metrics."""
        self._agreed = max(self._agreed, int(terms[STOP]))
        return {name: value for name, value in terms.items() if name != STOP}

    @property
    def number(self) -> int:
        """The signal on which all hosts agree."""
        return self._agreed


def stop_of_run(event: InterruptEvent) -> Stop:
    """The stop for the number of hosts that train."""
    return OwnStop(event) if jax.process_count() == 1 else AgreedStop(event)
