"""Conversion between container timestamps (integer ticks of a time base) and exact frame times."""

import math
from fractions import Fraction

from msst_jax.video.io.types import MAX_TICKS, Frame


class TimestampQuantizer:
    """Rounds frame times to strictly increasing timestamps of a time base.

    Attributes:
      time_base: seconds per tick.
      durations: ticks by timestamp, of all frames seen; encoders lose them.
      last: the latest timestamp, -1 before the first frame.
    """

    def __init__(self, time_base: Fraction):
        self.time_base = time_base
        self.durations: dict[int, int] = {}
        self.last = -1

    def quantize(self, frame: Frame) -> int:
        """The timestamp of a frame in ticks; records its duration, which is at least one tick."""
        self.last = max(round(frame.time / self.time_base), self.last + 1)
        self.durations[self.last] = max(round(frame.duration / self.time_base), 1)
        return self.last


class TimestampNormalizer:
    """Recovers exact frame times from the timestamps of a file.

    Containers with a coarse clock round timestamps: Matroska and WebM to milliseconds, MPEG-TS to 1/90000 s. Where the
    file declares a constant rate, the rounding is undone; a timestamp that is off by more than one tick is kept.

    Attributes:
      period: seconds per frame.
      time_base: seconds; all times are multiples of it.
    """

    def __init__(self, tick: Fraction, rate: Fraction, first: int, constant: bool):
        """Chooses the time base.

        Args:
          tick: seconds per tick of the file's timestamps.
          rate: frames per second.
          first: timestamp of the first frame, the origin of the grid of constant-rate frame times.
          constant: whether the file declares that rate for every frame.
        """
        self.tick = tick
        self.first = first
        self.period = 1 / rate
        fine = Fraction(1, math.lcm(tick.denominator, rate.numerator))
        inexact = (self.period / tick).denominator > 1
        self._snaps = constant and inexact and fine.denominator <= MAX_TICKS
        self.time_base = fine if self._snaps else tick

    def time(self, timestamp: int) -> Fraction:
        """Seconds of a timestamp on the clock of the file."""
        seconds = (timestamp - self.first) * self.tick
        nearest = round(seconds / self.period) * self.period
        exact = nearest if self._snaps and abs(nearest - seconds) <= self.tick else seconds
        return self.first * self.tick + exact

    def duration(self, ticks: int) -> Fraction:
        """Seconds of a duration in ticks; one frame period if it is unknown (0)."""
        seconds = ticks * self.tick
        if seconds <= 0 or (self._snaps and abs(seconds - self.period) <= self.tick):
            return self.period
        return seconds
