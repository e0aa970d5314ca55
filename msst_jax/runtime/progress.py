"""How far a long run is, on stderr: a bar at a terminal, elsewhere a line every so often, nothing if quiet."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from types import TracebackType

from absl import logging
from tqdm import tqdm

from msst_jax.runtime.whole_time import WholeTime

LINE_SHARE = 0.1  # a line for every so large part of the run,
LINE_SECONDS = 5.0  # but none sooner than this after another
SILENT_SECONDS = 30.0  # a line after this long, however little was done
TIMED_STEPS = 3  # that are timed before the time left is told, in a first line
LONG_SECONDS = 120.0  # of a run from which on it is told how long it takes in all
SMOOTHING = 0.2  # weight of the newest step in the pace: the steps of a resumed video take no time at first
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # tqdm's own, but for its estimate


class Progress:
    """Tells how far a run is. A context manager; its methods may be called from any thread."""

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None,
        *,
        quiet: bool,
        costs: Sequence[float] | None = None,
        pauses: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts it.

        Args:
          what: what the run does, the first word of the bar and of the lines ("stylize").
          unit: a step of it, in the singular ("frame").
          total: steps; None = not known.
          quiet: show nothing.
          costs: what each step takes, relative to the others; None = all the same.
          pauses: how often something is announced that takes about as long each time; of a run for which that is
            known, and which is long, it is told in a line how long it takes in all. None = it is not.
          clock: seconds.
        """
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            desc=what,
            unit=unit,
            disable=quiet or not terminal,
            dynamic_ncols=True,
            bar_format=None if total is None else BAR,
        )
        self._what, self._unit, self._total = what, unit, total
        self._lines = not (quiet or terminal)
        self._clock = clock
        self._lock = threading.RLock()
        self._plan(costs)
        self._done = 0
        self._timed = 0
        self._pace: float | None = None  # seconds a unit of cost
        self._last: float | None = None  # time of the last step; None = the next one is not timed
        self._note = ""
        self._whole = None if pauses is None or quiet else WholeTime(clock(), pauses)  # until it is told
        self._said_at, self._said_done, self._said_any = clock(), 0, False

    def __enter__(self) -> "Progress":
        """The progress itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """So many more steps are done.

        Args:
          steps: how many.
          note: what is to be known of the last one, such as its loss.
        """
        with self._lock:
            now = self._clock()
            if self._last is None:
                self._said_at = now  # what was announced, or the start, has taken the time since then
            else:
                self._time_steps(steps, now - self._last)
            self._done, self._last, self._note = self._done + steps, now, note
            self._bar.set_postfix_str(", ".join(filter(None, [note, self._time_left()])), refresh=False)
            self._bar.update(steps)
            self._tell_whole_time(now)
            self._print_line_if_due(now)

    def note(self, text: str) -> None:
        """Tells something of the step that is at work."""
        with self._lock:
            self._note = text
            self._bar.set_postfix_str(", ".join(filter(None, [text, self._time_left()])))
            self._print_line_if_due(self._clock())

    def announce(self, text: str, left: int | None = None) -> None:
        """Says in a line what comes now, which is no step and takes time of its own.

        Args:
          text: the line.
          left: steps that are left from now on; None = as planned.
        """
        with self._lock:
            self._say(text)
            if self._whole is not None:
                self._whole.pause(self._clock())
            if left is not None:
                self._whole = None
                self._total = self._bar.total = self._done + left
                self._plan(None)
                self._pace, self._timed = None, 0
            self._said_at, self._last = self._clock(), None

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode(sys.stderr):
            logging.info("%s", text)

    def _tell_whole_time(self, now: float) -> None:
        """Says once, of a long run, how long it takes in all."""
        if self._whole is None or self._total is None:
            return
        self._whole.step(now)
        if self._pace is None or self._timed < TIMED_STEPS or self._done >= self._total:
            return
        left, step = (self._pace * self._cost(*steps) for steps in ((self._done, self._total), (0, 1)))
        seconds = self._whole.estimate(now, left, step)
        self._whole = None
        if seconds >= LONG_SECONDS:
            self._say(f"{self._what}: {describe_seconds(seconds)} in all")

    def _plan(self, costs: Sequence[float] | None) -> None:
        self._until = None if costs is None else [0.0, *accumulate(costs)]

    def _cost(self, begin: int, end: int) -> float:
        """Of the steps from one to another."""
        return end - begin if self._until is None else self._until[end] - self._until[begin]

    def _time_steps(self, steps: int, seconds: float) -> None:
        pace = seconds / self._cost(self._done, self._done + steps)
        self._pace = pace if self._pace is None else SMOOTHING * pace + (1 - SMOOTHING) * self._pace
        self._timed += steps

    def _time_left(self) -> str:
        """In words; empty while it is not known."""
        if self._total is None or self._pace is None or self._timed < TIMED_STEPS or self._done >= self._total:
            return ""
        return f"{describe_seconds(self._pace * self._cost(self._done, self._total))} left"

    def _print_line_if_due(self, now: float) -> None:
        if self._lines and self._is_due(now - self._said_at):
            logging.info("%s: %s", self._what, ", ".join(filter(None, [self._count(), self._note, self._time_left()])))
            self._said_at, self._said_done, self._said_any = now, self._done, True

    def _is_due(self, silent: float) -> bool:
        if self._done == self._total:
            return False  # what was made is named next
        if silent >= SILENT_SECONDS:
            return True
        share = self._total is not None and self._done - self._said_done >= LINE_SHARE * self._total
        return silent >= LINE_SECONDS and self._timed >= TIMED_STEPS and (share or not self._said_any)

    def _count(self) -> str:
        if self._total is None:
            return f"{self._done} {self._unit}s"
        return f"{self._done} of {self._total} {self._unit}s ({100 * self._done // self._total}%)"


def describe_seconds(seconds: float) -> str:
    """About how long something takes: "about 4 min"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} h"
