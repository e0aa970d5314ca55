"""The batches of a run: what the loop takes them from, and how long it waits for them."""

import time
from collections.abc import Iterator
from typing import Any, Protocol

import jax


class BatchIterator(Protocol):
    """Endless batches of this host, with a position that can be saved."""

    def __next__(self) -> Any:
        """The next batch: leaves (photos of this host, ...)."""

    def get_state(self) -> Any:
        """The position, as JSON."""

    def set_state(self, state: Any) -> None:
        """Restores a position."""


class TimedBatches(Iterator[Any]):
    """Batches, and how long the host has waited for them.

    Attributes:
      waited: seconds. Counted when they pass and not with the step that the batch is for, which is observed later: a
        wait would be counted in the interval after its own, and its share of that could exceed 1.
      shapes: of the first batch; None before it.
    """

    def __init__(self, batches: BatchIterator):
        self.batches = batches
        self.waited = 0.0
        self.shapes: Any = None

    def __next__(self) -> Any:
        """The next batch."""
        started = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - started
        if self.shapes is None:
            self.shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
        return batch
