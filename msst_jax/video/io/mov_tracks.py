"""Which tracks of an MP4 or QuickTime file are enabled, that is, shown unless the user chooses others."""

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MUXERS = ("mp4", "mov")
ENABLED = 1  # of the flags of a track header, ISO/IEC 14496-12, 8.3.2


class _Box(NamedTuple):
    """Its type, and where in the file its content begins and ends."""

    kind: bytes
    begin: int
    end: int


def disable_tracks(path: Path, streams: Collection[int]) -> None:
    """Disables tracks of a finished file that FFmpeg has written.

    Its muxer enables the first audio, video and subtitle track if none of its kind is the default: without sound a file
    would be silent, but subtitles would appear that nobody asked for.

    Args:
      path: the file.
      streams: the indices that the tracks had as streams of the muxer.

    Raises:
      OSError: the file cannot be changed.
    """
    if not streams:
        return
    with path.open("r+b") as file:
        for header in _track_headers(file, path.stat().st_size):
            file.seek(header.begin)
            version, *_, flags = file.read(4)
            file.seek(16 if version else 8, 1)  # times of creation and change
            (track,) = struct.unpack(">I", file.read(4))
            if track - 1 in streams:  # FFmpeg counts tracks from 1
                file.seek(header.begin + 3)
                file.write(bytes([flags & ~ENABLED]))


def _track_headers(file: BinaryIO, size: int) -> list[_Box]:
    movies = [box for box in _boxes(file, 0, size) if box.kind == b"moov"]
    tracks = [box for movie in movies for box in _boxes(file, movie.begin, movie.end) if box.kind == b"trak"]
    return [box for track in tracks for box in _boxes(file, track.begin, track.end) if box.kind == b"tkhd"]


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[_Box]:
    """The boxes between two places of a file."""
    while begin < end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        content = begin + 8
        if size == 1:  # too large for 32 bits
            (size,) = struct.unpack(">Q", file.read(8))
            content += 8
        yield _Box(kind, content, begin + size)
        begin += size
