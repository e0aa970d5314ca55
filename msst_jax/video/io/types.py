"""Core types of video I/O: frames with exact timestamps, stream properties and the video source interface.

`open_video` reads a video from a file or a folder, `video_writer` writes one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
      alpha: uint8 (H, W), 255 = opaque; None if the video has none. The image is composited over a backdrop already.
      name: of its file without the ending, if it comes from a folder of frames whose names are distinct.
      number: in the whole video, where the source knows it, see `number_frames`.
    """

    image: np.ndarray
    time: Fraction
    duration: Fraction
    alpha: np.ndarray | None = None
    name: str = ""
    number: int | None = None


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


class SubtitleInfo(NamedTuple):
    """One subtitle stream.

    Attributes:
      stream: its index in the file.
      codec: FFmpeg's name.
    """

    stream: int
    codec: str


class Chapter(NamedTuple):
    """A chapter: begin and end in seconds of the video, and its tags, of which players show "title"."""

    start: Fraction
    end: Fraction
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Extras:
    """What a video file holds beside its frames and its audio.

    Attributes:
      subtitles: the subtitle streams, in the order of the file.
      chapters: in the order of their begin.
      tags: descriptive tags of the file, such as "title"; names in lower case.
      video_tags: descriptive tags of the video stream.
      video_disposition: flags of the video stream, see `av.stream.Disposition`.
      attachments: indices in the file of attached files, such as fonts.
      unsupported: what no output can hold, in words for the user.
    """

    subtitles: tuple[SubtitleInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    video_tags: Mapping[str, str] = field(default_factory=dict)
    video_disposition: int = 0
    attachments: tuple[int, ...] = ()
    unsupported: tuple[str, ...] = ()


NO_EXTRAS = Extras()


class Part(NamedTuple):
    """A part of a video, in seconds from its start; `end` None = to the end."""

    start: Fraction = Fraction(0)
    end: Fraction | None = None


WHOLE = Part()


class FolderNumbers(NamedTuple):
    """How the frames of a whole folder are numbered.

    Attributes:
      positions: of the frames, in frame periods from the first.
      names: the numbers in their names; empty if they have none and follow each other.
    """

    positions: tuple[int, ...]
    names: tuple[int, ...] = ()

    @property
    def gapless(self) -> bool:
        """Whether no number is missing between the first and the last."""
        return self.positions == tuple(range(len(self.positions)))


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
      extras: what else is in the file.
      source_frames: number of frames of the whole file, None if unknown.
      part: of the file that this is; all else but `source_frames` and `numbers` is about the part alone.
      end: seconds of this part at which it is cut, None = it goes on to the end of the file.
      first_number: number of the first frame in the whole file.
      has_alpha: whether frames have an alpha channel.
      numbers: of a folder of frames; None of a file.
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
    extras: Extras = NO_EXTRAS
    source_frames: int | None = None
    part: Part = WHOLE
    end: Fraction | None = None
    first_number: int = 0
    has_alpha: bool = False
    numbers: FolderNumbers | None = None


class VideoSource(Protocol):
    """A video to read, from a file or a folder of images."""

    info: VideoInfo

    def frames(self) -> Iterator[Frame]:
        """Decodes the frames one at a time; every call starts at the first frame, independently of other iterators.

        Frames that cannot be decoded are skipped; a single warning at the end says how many were read.
        """


def number_frames(frames: Iterable[Frame], rate: Fraction, start: int = 0) -> Iterator[tuple[int, Frame]]:
    """Yields (index, frame), from index `start`.

    Indices are those that the source knows. Else at a constant rate they follow the frame times: a frame that could not
    be decoded leaves a gap. Elsewhere frames are counted.

    Args:
      frames: frames of a video, in order.
      rate: frames per second of the video.
      start: index of the first frame.
    """
    index, constant, first = start - 1, True, None
    for frame in frames:
        first = frame.time if first is None else first  # the audio may begin before the first frame
        position = (frame.time - first) * rate
        constant = constant and position.denominator == 1
        counted = max(index + 1, start + int(position)) if constant else index + 1
        index = counted if frame.number is None else frame.number
        yield index, frame
