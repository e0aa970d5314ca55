"""FFmpeg's filter graphs."""

from collections.abc import Iterator

import av
from av.filter import Graph


def pull_frames(graph: Graph) -> Iterator[av.VideoFrame]:
    """The frames that a filter graph has ready."""
    while True:
        try:
            yield graph.vpull()
        except (BlockingIOError, EOFError):
            return
