"""What a clip is: frames with exact times, and what is known of the whole.

`open_video` makes one from a file or a folder, `video_writer` writes one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

MAX_TICKS = 10**9  # a second in more parts than this is refused by the VP9 encoder
MAX_RATE = 1000


class Frame(NamedTuple):
    """One picture of a clip.

    Attributes:
      image: uint8 (H, W, 3), RGB as the clip stores it (see `ColorTags`), turned the right way up.
      time: seconds from the beginning of the clip at which it appears; greater than that of the frame before.
      duration: seconds that it is meant to stay.
    """

    image: np.ndarray
    time: Fraction
    duration: Fraction


class ColorTags(NamedTuple):
    """What the numbers of a clip mean, by the code points of ITU-T H.273.

    Attributes:
      matrix: how RGB becomes luma and chroma: 1 = BT.709, 5 and 6 = BT.601, 9 = BT.2020, ...
      primaries: which red, green and blue; 2 = not said.
      transfer: the curve from light to numbers; 2 = not said.
    """

    matrix: int
    primaries: int
    transfer: int


class AudioInfo(NamedTuple):
    """One audio stream: its number in the file, its codec by FFmpeg's name, samples a second, channels."""

    stream: int
    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a clip before its frames are read.

    Attributes:
      path: the file, or the folder of pictures.
      width: of the frames, after rotation.
      height: of the frames, after rotation.
      rate: frames a second, on average.
      time_base: seconds; every time of a frame is a multiple of it.
      duration: seconds, None if not known.
      frames: how many, None if not known.
      pixel_aspect: width of a pixel divided by its height, after rotation.
      colors: what the numbers mean.
      audio_streams: the audio streams.
      start: seconds on the clock of the file at which the clip begins.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    duration: Fraction | None
    frames: int | None
    pixel_aspect: Fraction
    colors: ColorTags
    audio_streams: tuple[AudioInfo, ...] = ()
    start: Fraction = Fraction(0)


class VideoSource(Protocol):
    """A file or a folder of frames."""

    info: VideoInfo

    def frames(self) -> Iterator[Frame]:
        """The frames from the beginning, one at a time; each call begins anew and shares nothing with the others.

        What cannot be decoded is left out; one line of warning at the end says how much that was.
        """


def number_frames(frames: Iterable[Frame], rate: Fraction) -> Iterator[tuple[int, Frame]]:
    """Frames with their numbers, from 0; at a constant rate those that could not be decoded have theirs too.

    Args:
      frames: of a clip, in order.
      rate: frames a second of the clip.
    """
    number, regular, first = -1, True, None
    for frame in frames:
        first = frame.time if first is None else first  # the sound may begin before
        place = (frame.time - first) * rate
        regular = regular and place.denominator == 1
        number = max(number + 1, int(place)) if regular else number + 1
        yield number, frame
