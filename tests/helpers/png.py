"""A writer of PNG files of every bit depth and with any chunks, because Pillow writes few of those that it reads."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # color types


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(samples: np.ndarray, color_type: int, bits: int, *, before: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG file of samples (H, W, C) as they are, with chunks (kind, data) before the pixels."""
    height, width, _ = samples.shape
    values = samples.reshape(height, -1).astype(np.uint16)[..., None] >> np.arange(bits - 1, -1, -1)
    rows = np.packbits((values & 1).reshape(height, -1).astype(np.uint8), axis=1)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [*before, (b"IDAT", pixels), (b"IEND", b"")]
    return png_header(width, height, color_type, bits) + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_header(width: int, height: int, color_type: int = RGB, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def write_png(
    path: Path, samples: np.ndarray, color_type: int, bits: int, **options: Sequence[tuple[bytes, bytes]]
) -> str:
    path.write_bytes(png_bytes(samples, color_type, bits, **options))
    return str(path)
