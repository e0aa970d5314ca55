"""Core types of video I/O: frames with exact timestamps, stream properties and the video source interface.

`open_video` reads a video from a file or a folder, `video_writer` writes one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

MAX_TICKS = 10**9  # ticks per second of a time base; the VP9 encoder refuses finer ones
MAX_RATE = 1000  # frames per second


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
      image: uint8 (H, W, 3), RGB as the video encodes it (see `ColorTags`), after the display rotation.
      time: presentation time in seconds from the start of the video; greater than that of the previous frame.
      duration: display duration in seconds.
      name: of its file without the ending, if it comes from a folder of frames whose names are distinct.
    """

    image: np.ndarray
    time: Fraction
    duration: Fraction
    name: str = ""


class ColorTags(NamedTuple):
    """How to interpret the code values of a video, as code points of ITU-T H.273.

    Attributes:
      matrix: from RGB to luma and chroma: 1 = BT.709, 5 and 6 = BT.601, 9 = BT.2020, ...
      primaries: chromaticities of red, green and blue; 2 = unspecified.
      transfer: transfer characteristics, from light to code values; 2 = unspecified.
    """

    matrix: int
    primaries: int
    transfer: int


class AudioInfo(NamedTuple):
    """One audio stream.

    Attributes:
      stream: its index in the file.
      codec: FFmpeg's name.
      sample_rate: samples per second.
      channels: the number of channels.
    """

    stream: int
    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video that are known before its frames are read.

    Attributes:
      path: the file, or the folder of images.
      width: pixels, after the display rotation.
      height: pixels, after the display rotation.
      rate: average frames per second.
      time_base: seconds; every frame time is a multiple of it.
      duration: seconds of the video stream, None if unknown.
      frames: number of frames, None if unknown.
      pixel_aspect: width of a pixel divided by its height, after the display rotation.
      colors: color matrix, primaries and transfer function.
      audio_streams: the audio streams, in the order of the file.
      start: seconds on the clock of the file that are time 0 of the video: its first frame or its first audio sample,
        whichever is earlier.
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
    """A video to read, from a file or a folder of images."""

    info: VideoInfo

    def frames(self) -> Iterator[Frame]:
        """Decodes the frames one at a time; every call starts at the first frame, independently of other iterators.

        Frames that cannot be decoded are skipped; a single warning at the end says how many were read.
        """


def number_frames(frames: Iterable[Frame], rate: Fraction) -> Iterator[tuple[int, Frame]]:
    """Yields (index, frame), from index 0.

    At a constant rate, indices follow the frame times: a frame that could not be decoded leaves a gap. Elsewhere frames
    are counted.

    Args:
      frames: frames of a video, in order.
      rate: frames per second of the video.
    """
    index, constant, first = -1, True, None
    for frame in frames:
        first = frame.time if first is None else first  # the audio may begin before the first frame
        position = (frame.time - first) * rate
        constant = constant and position.denominator == 1
        index = max(index + 1, int(position)) if constant else index + 1
        yield index, frame
