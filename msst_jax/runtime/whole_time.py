"""About how long a run takes in all, known once its first steps were timed."""


class WholeTime:
    """Counts what a run takes beside its steps: pauses that are announced, such as compilations, about equally long."""

    def __init__(self, begun: float, pauses: int):
        """Starts with the run.

        Args:
          begun: the time, in seconds.
          pauses: of the whole run.
        """
        self._begun, self._to_come = begun, pauses
        self._paused_at: float | None = None
        self._first: float | None = None  # seconds of the first pause and the step after it

    def pause(self, now: float) -> None:
        """Something is announced; all that is until the next step is one pause."""
        if self._paused_at is None:
            self._paused_at = now

    def step(self, now: float) -> None:
        """A step is done."""
        if self._paused_at is None:
            return
        self._to_come -= 1
        if self._first is None:
            self._first = now - self._paused_at
        self._paused_at = None

    def estimate(self, now: float, left: float, step: float) -> float:
        """Seconds from the start to the end.

        Args:
          now: the time, in seconds.
          left: what all further steps take, in seconds.
          step: what the first one took.
        """
        pauses = max(self._to_come, 0) * max((self._first or 0) - step, 0)
        return now - self._begun + left + pauses
