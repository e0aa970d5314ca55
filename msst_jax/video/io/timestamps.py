"""Timestamps of a container to exact frame times, and back."""

import math
from fractions import Fraction

from msst_jax.video.io.types import MAX_TICKS, Frame


class TimestampQuantizer:
    """The times of frames in units of a container; they grow."""

    def __init__(self, time_base: Fraction):
        self.time_base = time_base
        self.durations: dict[int, int] = {}
        self.last = -1

    def of(self, frame: Frame) -> int:
        """The time of a frame; its duration is noted, which encoders lose."""
        self.last = max(round(frame.time / self.time_base), self.last + 1)
        self.durations[self.last] = max(round(frame.duration / self.time_base), 1)
        return self.last


class TimestampNormalizer:
    """From the time stamps of a file to the exact times of its frames.

    Containers with a coarse clock round their times: Matroska and WebM to milliseconds, MPEG-TS to 1/90000 s. Where a
    constant rate is declared, the rounding is undone; a time that is off by more than that is left as it is.
    """

    def __init__(self, tick: Fraction, rate: Fraction, first: int, constant: bool):
        """Chooses the time base.

        Args:
          tick: seconds of one unit of the time stamps.
          rate: frames a second.
          first: time stamp of the first frame, from which the others are counted.
          constant: whether the file declares that rate for every frame.
        """
        self.tick = tick
        self.first = first
        self.period = 1 / rate
        fine = Fraction(1, math.lcm(tick.denominator, rate.numerator))
        coarse = (self.period / tick).denominator > 1
        self.snaps = constant and coarse and fine.denominator <= MAX_TICKS
        self.time_base = fine if self.snaps else tick

    def time(self, stamp: int) -> Fraction:
        """Seconds of a time stamp on the clock of the file."""
        seconds = (stamp - self.first) * self.tick
        nearest = round(seconds / self.period) * self.period
        exact = nearest if self.snaps and abs(nearest - seconds) <= self.tick else seconds
        return self.first * self.tick + exact

    def duration(self, stamps: int) -> Fraction:
        """Seconds of a duration in time stamps; one that is not known (0) is that of the average frame."""
        seconds = stamps * self.tick
        if seconds <= 0 or (self.snaps and abs(seconds - self.period) <= self.tick):
            return self.period
        return seconds
