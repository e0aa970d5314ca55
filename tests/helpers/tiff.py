"""A writer of uncompressed TIFF files of every kind, because Pillow writes few of those that it reads."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FIELD_FORMATS = {2: "s", 3: "H", 4: "I", 11: "f", 12: "d"}  # of a type code: ASCII, SHORT, LONG, FLOAT, DOUBLE
SHORT, LONG, FLOAT = 3, 4, 11
SMALLEST, LARGEST = 340, 341  # tags: SMinSampleValue, SMaxSampleValue
UNSIGNED, SIGNED, IEEE = 1, 2, 3  # SampleFormat
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8  # PhotometricInterpretation

Field = tuple[int, Sequence[float] | bytes]
"""Type code and values."""


def write_tiff(
    path: Path,
    samples: np.ndarray,
    *,
    photometric: int = BLACK_IS_ZERO,
    bits: int = 8,
    sample_format: int = UNSIGNED,
    big_endian: bool = False,
    planar: bool = False,
    extra_samples: Sequence[int] = (),
    fill_order: int = 1,
    tags: Mapping[int, Field] | None = None,
    next_pages: Sequence[Mapping[int, Field]] = (),
    below: Mapping[int, Field] | None = None,
) -> str:
    """Writes samples (H, W, C) as they are and returns the path.

    `tags` come on top of those of the samples; the `next_pages`, and the directory `below` the first, have only tags.
    """
    height, width, channels = samples.shape
    order = ">" if big_endian else "<"
    planes = [samples[..., index : index + 1] for index in range(channels)] if planar else [samples]
    strips = [_pack(plane, bits, sample_format, order, fill_order) for plane in planes]
    offsets = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    fields: dict[int, Field] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        266: (SHORT, [fill_order]),
        273: (LONG, offsets),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, list(map(len, strips))),
        284: (SHORT, [2 if planar else 1]),
        339: (SHORT, [sample_format] * channels),
        **({338: (SHORT, list(extra_samples))} if extra_samples else {}),
        **(tags or {}),
    }
    data = b"".join(strips)
    if below is not None:
        fields[330] = (LONG, [8 + len(data)])
        data += _directory(below, order, 8 + len(data), last=True)
    header = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8 + len(data))
    directories = [fields, *next_pages]
    for index, directory in enumerate(directories):
        data += _directory(directory, order, 8 + len(data), last=index == len(directories) - 1)
    path.write_bytes(header + data)
    return str(path)


def _pack(samples: np.ndarray, bits: int, sample_format: int, order: str, fill_order: int) -> bytes:
    if bits >= 8 and bits != 12:
        kind = {UNSIGNED: "u", SIGNED: "i", IEEE: "f"}[sample_format]
        return samples.astype(f"{order}{kind}{bits // 8}").tobytes()
    rows = samples.reshape(len(samples), -1).astype(np.uint16)
    single_bits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    order_of_bits = "big" if fill_order == 1 else "little"
    return np.packbits(single_bits.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder=order_of_bits).tobytes()


def _directory(fields: Mapping[int, Field], order: str, offset: int, *, last: bool) -> bytes:
    """The directory at `offset`, with the long values after it; the next one follows at once."""
    body, values = struct.pack(order + "H", len(fields)), b""
    values_at = offset + 2 + 12 * len(fields) + 4
    for tag, (kind, content) in sorted(fields.items()):
        letter = FIELD_FORMATS[kind]
        packed = bytes(content) if letter == "s" else struct.pack(f"{order}{len(content)}{letter}", *content)
        if len(packed) > 4:
            inline, values = struct.pack(order + "I", values_at + len(values)), values + packed
        else:
            inline = packed.ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, kind, len(content)) + inline
    end = 0 if last else values_at + len(values)
    return body + struct.pack(order + "I", end) + values
