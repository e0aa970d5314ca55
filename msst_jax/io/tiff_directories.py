"""The tags of TIFF files, and of EXIF blocks, which have the same structure; what cannot be read is left out."""

import struct
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

from PIL import TiffImagePlugin

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 254, 256, 257, 258, 262, 277, 339
PLANAR_CONFIGURATION, SUB_DIRECTORIES, EXTRA_SAMPLES, SMALLEST, LARGEST = 284, 330, 338, 340, 341
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of SAMPLE_FORMAT
SEPARATE_PLANES, STRAIGHT_ALPHA = 2, 2  # values of PLANAR_CONFIGURATION and EXTRA_SAMPLES
REDUCED = 1  # bit of SUBFILE_TYPE: a smaller version of another page
MAX_DIRECTORIES = 64

_BIG_SIGNATURES = (b"II+\0", b"MM+\0")
_SIGNATURES = (b"II*\0", b"MM\0*", *_BIG_SIGNATURES)


class Directory(NamedTuple):
    """One directory of tags."""

    tags: Mapping[int, Any]
    """{tag: value, or a tuple of several}."""
    next: int
    """Where the next one lies; 0 = there is none."""

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag as a whole number."""
        try:
            value = self.tags.get(tag, default)
            return int(value[0] if isinstance(value, tuple) else value)
        except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
            return default

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.number(WIDTH) * self.number(HEIGHT)

    @property
    def reduced(self) -> bool:
        """Whether the page says that it is a smaller version of another."""
        return bool(self.number(SUBFILE_TYPE) & REDUCED)


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts with these bytes is a TIFF file."""
    return head[:4] in _SIGNATURES


def read_directory(stream: IO[bytes], head: bytes, offset: int | None = None, group: int | None = None) -> Directory:
    """The directory at an offset of a file; an empty one if there is none.

    Args:
      stream: the file; offsets count from its start.
      head: its first bytes, at least 16 of a BigTIFF file.
      offset: None = of the first directory.
      group: the tag that points to the directory, if that gives tags a meaning of their own (EXIF, GPS).
    """
    header = head[:16] if head[:4] in _BIG_SIGNATURES else head[:8]
    try:
        entries = TiffImagePlugin.ImageFileDirectory_v2(header, group=group)
        stream.seek(entries.next if offset is None else offset)
        entries.load(stream)
    except (SyntaxError, OSError, ValueError, TypeError, KeyError, struct.error, OverflowError):
        return Directory({}, 0)
    return Directory(readable_tags(entries), entries.next or 0)


def readable_tags(entries: Mapping[int, Any]) -> dict[int, Any]:
    """The tags of a directory of Pillow's that can be decoded."""
    tags = {}
    for tag in entries:
        try:
            tags[tag] = entries[tag]
        except Exception:  # one unreadable tag must not hide the others; Pillow raises many kinds of errors
            continue
    return tags


def read_pages(stream: IO[bytes], head: bytes) -> tuple[list[Directory], list[Directory]]:
    """The pages of a TIFF file in order, and the directories below them, such as the full picture below a thumbnail."""
    pages: list[Directory] = []
    offset: int | None = None
    while len(pages) < MAX_DIRECTORIES:
        pages.append(read_directory(stream, head, offset))
        offset = pages[-1].next
        if not offset:
            break
    offsets = [place for page in pages for place in _numbers(page.tags.get(SUB_DIRECTORIES, ()))]
    return pages, [read_directory(stream, head, place) for place in offsets[:MAX_DIRECTORIES]]


def _numbers(value: Any) -> list[int]:
    return [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, int)]


def describe_samples(page: Directory) -> str:
    """The kind of a page's pixels for a message, such as "3 x 32-bit float samples"."""
    kind = {UNSIGNED: "", SIGNED: " signed", FLOAT: " float"}.get(page.number(SAMPLE_FORMAT, UNSIGNED), " unknown")
    planar = " in separate planes" if page.number(PLANAR_CONFIGURATION, 1) == SEPARATE_PLANES else ""
    return f"{page.number(SAMPLES, 1)} x {page.number(BITS, 1)}-bit{kind} samples{planar}"
