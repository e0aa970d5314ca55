"""What is told of an optimization while it is at work: evaluations, what takes time beside them, pictures so far."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax

FEWER_RUNS = "fewer blend ratios"
ProgressCallback = Callable[[int, float], None]
"""Called as (evaluation counted over all scales, loss summed over the runs)."""


class Announce(Protocol):
    """Called before what takes time and is no evaluation."""

    def __call__(self, text: str, left: int | None = None) -> None:
        """Says so.

        Args:
          text: a line that says what it is.
          left: evaluations that follow; None = as planned.
        """


def say_nothing(text: str, left: int | None = None) -> None:
    """The `Announce` of those who do not listen."""


class Preview(NamedTuple):
    """Pictures while an optimization is at work."""

    every: int
    """Evaluations from one to the next, counted over all scales."""
    show: Callable[[int, jax.Array], None]
    """Receives the evaluation, counted over all scales, and the best images so far (B, H, W, 3), at full size."""


class Listener(NamedTuple):
    """What is told of an optimization while it is at work."""

    progress: ProgressCallback | None = None
    announce: Announce = say_nothing
    preview: Preview | None = None
    done: int = 0
    """Evaluations made at previous scales."""
    fewer: str = FEWER_RUNS
    """What the user gives for fewer runs in the batch, for the advice about too little memory."""

    def on_evaluation(self) -> ProgressCallback | None:
        """That of `run_minimizer`."""
        progress, done = self.progress, self.done
        return progress and (lambda evaluation, total: progress(done + evaluation, total))

    def on_best(self) -> Callable[[int, jax.Array], None] | None:
        """That of `run_minimizer`."""
        preview, done = self.preview, self.done
        if preview is None:
            return None

        def on_best(evaluation: int, pixels: jax.Array) -> None:
            if (done + evaluation) % preview.every == 0:
                preview.show(done + evaluation, pixels)

        return on_best


SILENT = Listener()
