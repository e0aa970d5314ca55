"""Deinterlacing: one progressive frame for every interlaced one, whose two fields show different moments."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
from absl import logging
from av.filter import Graph

from msst_jax.video.io.filtering import pull_frames

# One frame for each frame, and only where a frame says that it is interlaced. Source: FFmpeg, libavfilter/vf_bwdif.c
# (the BBC's w3fdif with yadif's motion adaptation).
FILTER, OPTIONS = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"


def deinterlace(frames: Iterable[av.VideoFrame], path: Path) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
    """Yields every frame with its progressive version, which is the frame itself where it is progressive already.

    A video without interlaced frames is passed through; from the first interlaced frame on, all go through the filter,
    since it looks at the frames before and after. A warning is logged once.

    Args:
      frames: of one stream, in order; timestamps of the progressive versions are meaningless.
      path: of the video, for the warning.
    """
    field_filter: _FieldFilter | None = None
    previous: av.VideoFrame | None = None
    for frame in frames:
        if field_filter is None and frame.interlaced_frame:
            logging.warning("video %s is interlaced: it is deinterlaced, one frame for each", path)
            field_filter = _FieldFilter(frame, previous)
        if field_filter is None:
            previous = frame
            yield frame, frame
            continue
        if not field_filter.fits(frame):
            yield from field_filter.flush()
            field_filter = _FieldFilter(frame, None)
        yield from field_filter.push(frame)
    if field_filter is not None:
        yield from field_filter.flush()


class _FieldFilter:
    """The filter for frames of one size and format; every output is paired with its input."""

    def __init__(self, frame: av.VideoFrame, previous: av.VideoFrame | None):
        """Takes a frame like those to come, and the one before them, which is not returned again."""
        self._kind = (frame.width, frame.height, frame.format.name)
        self._inputs: deque[av.VideoFrame] = deque()
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        fields, sink = self._graph.add(FILTER, OPTIONS), self._graph.add("buffersink")
        source.link_to(fields)
        fields.link_to(sink)
        self._graph.configure()
        self._returned = previous if previous is not None and self.fits(previous) else None
        if self._returned is not None:
            self._inputs.append(self._returned)
            self._graph.push(self._returned)

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the size and format of the filter."""
        return (frame.width, frame.height, frame.format.name) == self._kind

    def push(self, frame: av.VideoFrame) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        """The pairs that are ready after a frame."""
        self._inputs.append(frame)
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        """The remaining pairs."""
        self._graph.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[tuple[av.VideoFrame, av.VideoFrame]]:
        for output in pull_frames(self._graph):
            frame = self._inputs.popleft()
            if frame is not self._returned:
                yield frame, output
