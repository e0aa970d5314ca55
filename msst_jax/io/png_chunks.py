"""What Pillow gets wrong in whole PNG files: large texts, large color profiles, some transparent colors."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 1 << 26  # bytes; real ones have up to a few million
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_KEY_FACTORS = {"L;2": 85, "L;4": 17}  # Pillow scales these samples to 8 bits, but not the transparent one


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    size: int
    """Of the whole chunk: length, kind, data, checksum."""


def readable_png(stream: IO[bytes]) -> tuple[IO[bytes], bytes | None]:
    """A PNG file without what makes Pillow refuse it, and the color profile that it takes for too large, or None.

    Pillow refuses whole files with a text of over 1 MB, texts of over 64 MB in all, or a profile of over 1 MB.
    """
    kept, profile, budget = [], None, PngImagePlugin.MAX_TEXT_MEMORY
    for chunk in (chunks := list(_chunks(stream))):
        if chunk.kind == b"iCCP" and (large := _large_profile(_data(stream, chunk))):
            profile = large
            continue
        if chunk.kind in _TEXTS:
            size = _text_size(chunk.kind, _data(stream, chunk))
            if size is None or size > budget:
                continue
            budget -= size
        kept.append(chunk)
    stream.seek(0)
    if len(kept) == len(chunks):
        return stream, None
    return io.BytesIO(SIGNATURE + b"".join(_whole(stream, chunk) for chunk in kept)), profile


def _chunks(stream: IO[bytes]) -> Iterator[_Chunk]:
    """The chunks of a PNG file, up to where it is cut off."""
    start = len(SIGNATURE)
    while True:
        stream.seek(start)
        header = stream.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        yield _Chunk(kind, start, length + 12)
        start += length + 12


def _whole(stream: IO[bytes], chunk: _Chunk) -> bytes:
    stream.seek(chunk.start)
    return stream.read(chunk.size)


def _data(stream: IO[bytes], chunk: _Chunk) -> bytes:
    return _whole(stream, chunk)[8:-4]


def _expanded(data: bytes, limit: int) -> bytes | None:
    """Decompressed data; None if it has more than `limit` bytes, b"" if it is broken."""
    decompressor = zlib.decompressobj()
    try:
        expanded = decompressor.decompress(data, limit)
    except zlib.error:
        return b""
    return None if decompressor.unconsumed_tail else expanded


def _text_size(kind: bytes, data: bytes) -> int | None:
    """How many bytes a text has; None if it is larger than Pillow accepts."""
    text = data.partition(b"\0")[2]
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        compressed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        if not compressed:
            return len(text)
    else:
        return len(text)
    expanded = _expanded(text, PngImagePlugin.MAX_TEXT_CHUNK)
    return None if expanded is None else len(expanded)


def _large_profile(data: bytes) -> bytes | None:
    """The profile of a chunk, if it is larger than Pillow accepts."""
    compressed = data.partition(b"\0")[2][1:]
    if _expanded(compressed, PngImagePlugin.MAX_TEXT_CHUNK) is not None:
        return None
    return _expanded(compressed, MAX_PROFILE)


def sample_layout(opened: Image.Image) -> str:
    """Pillow's name for the samples in a PNG file that has been opened, but not loaded, such as "L;2"; "" = none."""
    tiles: list[Any] = getattr(opened, "tile", [])
    return str(tiles[0][3]) if opened.format == "PNG" and tiles else ""


def correct_transparent_color(picture: Image.Image, layout: str) -> None:
    """Scales the transparent color of a loaded PNG picture as Pillow has scaled its samples.

    Of 16-bit colors, Pillow keeps the high bytes, so all colors that share those of the transparent one are it.

    Args:
      picture: changed in place.
      layout: see `sample_layout`.
    """
    key = picture.info.get("transparency")
    if layout in _KEY_FACTORS and isinstance(key, int):
        picture.info["transparency"] = key * _KEY_FACTORS[layout]
    elif layout == "RGB;16B" and isinstance(key, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in key)
