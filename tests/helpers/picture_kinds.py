"""Every kind of picture file that docs/formats.md has a row for: how to write one, and what must be read."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.helpers import png, tiff

GRAYS = (0, 85, 170, 255)
"""0, 1/3, 2/3 and 1 of the full scale: whole numbers at 2, 4, 8, 12, 16 and 32 bits."""
COLORS = ((255, 0, 85), (0, 170, 255), (255, 255, 255), (0, 0, 0))
HALF = (128, 128, 255, 0)
"""The opacity of four pixels."""

Row = tuple[str, str]
"""File format and pixels, as in the table of docs/formats.md."""


class PictureKind(NamedTuple):
    """A file and what must be read from it."""

    row: Row
    variant: str
    suffix: str
    write: Callable[[Path], Any]
    expected: tuple[Any, ...] | str
    """(R, G, B) of the pixels from the left, or gray values, or a pattern for the error."""
    tolerance: int = 0

    @property
    def id(self) -> str:
        return " ".join(filter(None, [*self.row, self.variant]))


def over_white(values: tuple[Any, ...], opacity: tuple[int, ...] = HALF) -> tuple[Any, ...]:
    """Values with an opacity (of 255) over white."""
    return tuple(
        np.round(np.asarray(value) * alpha / 255 + 255 - alpha).astype(int).tolist()
        for value, alpha in zip(values, opacity, strict=True)
    )


def row_of(values: Any) -> np.ndarray:
    """Numbers, or tuples of them, as samples (1, W, C)."""
    samples = np.asarray(values)
    return samples.reshape(1, len(samples), -1)


def scaled(values: Any, bits: int) -> np.ndarray:
    """8-bit values at another depth, (1, W, C); exact for the multiples of 85 at every even depth."""
    return row_of(np.asarray(values, np.uint64) * (2**bits - 1) // 255)


def with_alpha(values: Any, opacity: tuple[int, ...] = HALF) -> np.ndarray:
    samples = row_of(values)
    return np.concatenate([samples, row_of(opacity)], -1)


def _tiff(
    row: str, variant: str, samples: np.ndarray, expected: Any, tolerance: int = 0, **options: Any
) -> PictureKind:
    return PictureKind(
        ("TIFF", row), variant, "tif", lambda path: tiff.write_tiff(path, samples, **options), expected, tolerance
    )


def _byte_order(big_endian: bool) -> str:
    return "big-endian" if big_endian else "little-endian"


def _sense(photometric: int) -> str:
    return "white is zero" if photometric == tiff.WHITE_IS_ZERO else "black is zero"


def tiff_gray() -> Iterator[PictureKind]:
    """Gray TIFF files of whole numbers."""
    for big_endian in (False, True):
        for photometric in (tiff.BLACK_IS_ZERO, tiff.WHITE_IS_ZERO):
            variant = f"{_byte_order(big_endian)}, {_sense(photometric)}"
            options = {"photometric": photometric, "big_endian": big_endian}
            expected = GRAYS if photometric == tiff.BLACK_IS_ZERO else GRAYS[::-1]
            for order in (1, 2):
                bit_order = f"{variant}, fill order {order}"
                both = (expected[0], expected[-1])
                yield _tiff("gray, 1 bit", bit_order, row_of([0, 1]), both, bits=1, fill_order=order, **options)
                for bits in (2, 4):
                    name, samples = f"{bits} bits, {bit_order}", scaled(GRAYS, bits)
                    yield _tiff("gray, 2, 4, 8 bits", name, samples, expected, bits=bits, fill_order=order, **options)
            yield _tiff("gray, 2, 4, 8 bits", f"8 bits, {variant}", row_of(GRAYS), expected, **options)
            plain = photometric == tiff.BLACK_IS_ZERO
            for bits in (12, 16, 32):
                row = "gray, 16 bits" if bits == 16 else "gray, 12 or 32 bits"
                read: Any = expected
                if big_endian + (not plain) >= (2 if bits == 16 else 1):
                    row += ", big-endian and white is zero" if bits == 16 else ", big-endian or white is zero"
                    read = f"1 x {bits}-bit samples, which is not supported"
                yield _tiff(row, f"{bits} bits, {variant}", scaled(GRAYS, bits), read, bits=bits, **options)
    yield _tiff("gray, 64 bits", "", scaled(GRAYS, 32), "1 x 64-bit samples, which is not supported", bits=64)
    yield PictureKind(
        ("TIFF", "gray, 1 bit"),
        "fax compression",
        "tif",
        lambda path: Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(path, compression="group4"),
        (0, 255),
    )


def tiff_signed_and_float() -> Iterator[PictureKind]:
    """Gray TIFF files of signed numbers and of floats."""
    limits = {tiff.SMALLEST: (tiff.FLOAT, [-30.0]), tiff.LARGEST: (tiff.FLOAT, [60.0])}
    for big_endian in (False, True):
        order = _byte_order(big_endian)
        for bits in (8, 16, 32):
            signed = {"bits": bits, "sample_format": tiff.SIGNED, "big_endian": big_endian}
            numbers = row_of([-30, 0, 30, 60])
            unknown = f"1 x {bits}-bit signed samples and does not say which is black"
            yield _tiff("gray, signed, with limits", f"{bits} bits, {order}", numbers, GRAYS, tags=limits, **signed)
            yield _tiff("gray, signed, without limits", f"{bits} bits, {order}", numbers, unknown, **signed)
        floats = {"bits": 32, "sample_format": tiff.IEEE, "big_endian": big_endian}
        thirds = row_of([0, 1 / 3, 2 / 3, 1])
        yield _tiff("gray, float", order, thirds, GRAYS, **floats)
        negative = {**floats, "photometric": tiff.WHITE_IS_ZERO}
        yield _tiff("gray, float", f"{order}, white is zero", thirds, GRAYS[::-1], **negative)
        yield _tiff("gray, float", f"{order}, with limits", row_of([-30, 0, 30, 60]), GRAYS, tags=limits, **floats)
    floats = {"bits": 32, "sample_format": tiff.IEEE}
    yield _tiff("gray, float", "overshoot of a filter", row_of([-0.009, 1 / 3, 2 / 3, 1.009]), GRAYS, **floats)
    broken = row_of([np.nan, -np.inf, np.inf, 1])
    broken = np.concatenate([broken, np.ones((1, 60, 1))], 1)
    yield _tiff("gray, float", "no numbers", broken, (0, 0, 255, 255, *[255] * 60), **floats)
    too_large = "holds numbers from 0 to 255, where 0 is black and 1 white"
    yield _tiff("gray, float, beyond 0 to 1", "", row_of(GRAYS), too_large, **floats)
    for bits in (16, 64):
        unsupported = f"1 x {bits}-bit float samples, which is not supported"
        yield _tiff(
            "gray, float, 16 or 64 bits", f"{bits} bits", row_of([0, 1]), unsupported, **{**floats, "bits": bits}
        )


def tiff_alpha_and_palette() -> Iterator[PictureKind]:
    """TIFF files of gray with alpha, and of palettes."""
    multiplied = np.asarray(GRAYS) * np.asarray(HALF) // 255
    yield _tiff("gray with alpha", "straight", with_alpha(GRAYS), over_white(GRAYS), 1, extra_samples=[2])
    yield _tiff("gray with alpha", "multiplied", with_alpha(multiplied), over_white(GRAYS), 2, extra_samples=[1])
    yield _tiff("gray with alpha", "of no meaning", with_alpha(GRAYS), GRAYS, extra_samples=[0])
    deep = scaled(with_alpha(GRAYS)[0], 16)
    unsupported = "2 x 16-bit samples, which is not supported"
    yield _tiff("gray with alpha, 16 bits", "", deep, unsupported, bits=16, extra_samples=[2])
    for bits in (1, 2, 4, 8):
        colors = [*COLORS, *[(0, 0, 0)] * (2**bits)][: 2**bits]
        table = {320: (tiff.SHORT, (np.asarray(colors).T * 257).ravel().tolist())}
        used = min(4, 2**bits)
        options = {"photometric": tiff.PALETTE, "bits": bits, "tags": table}
        yield _tiff("palette", f"{bits} bits", row_of(range(used)), COLORS[:used], **options)
    options = {"photometric": tiff.PALETTE, "tags": table, "extra_samples": [2]}
    yield _tiff("palette with alpha", "", with_alpha(range(4)), over_white(COLORS), 1, **options)


def tiff_colors() -> Iterator[PictureKind]:
    """TIFF files of RGB."""
    for big_endian in (False, True):
        for bits in (8, 16):
            name = f"{bits} bits, {_byte_order(big_endian)}"
            rgb = {"photometric": tiff.RGB, "bits": bits, "big_endian": big_endian}
            yield _tiff("RGB, 8 or 16 bits", name, scaled(COLORS, bits), COLORS, **rgb)
            straight, premultiplied = with_alpha(COLORS), np.asarray(COLORS) * np.asarray(HALF)[:, None] // 255
            alpha = {**rgb, "extra_samples": [2]}
            yield _tiff(
                "RGB with alpha", f"straight, {name}", scaled(straight[0], bits), over_white(COLORS), 1, **alpha
            )
            multiplied = scaled(with_alpha(premultiplied)[0], bits)
            alpha = {**rgb, "extra_samples": [1]}
            yield _tiff("RGB with alpha", f"multiplied, {name}", multiplied, over_white(COLORS), 2, **alpha)
            none = {**rgb, "extra_samples": [0]}
            yield _tiff("RGB with alpha", f"of no meaning, {name}", scaled(straight[0], bits), COLORS, **none)
            planes = {**rgb, "planar": True}
            refused = "3 x 16-bit samples in separate planes, which is not supported"
            row, expected = ("RGB, 8 or 16 bits", COLORS) if bits == 8 else ("RGB, 16 bits, planar", refused)
            yield _tiff(row, f"planar, {name}", scaled(COLORS, bits), expected, **planes)
        rgb = {"photometric": tiff.RGB, "big_endian": big_endian}
        name, planes = f"planar, {_byte_order(big_endian)}", {**rgb, "planar": True}
        samples = with_alpha(COLORS)
        yield _tiff("RGB with alpha", name, samples, over_white(COLORS), 1, extra_samples=[2], **planes)
        refused = "4 x 8-bit samples in separate planes, which is not supported"
        row = "RGB with alpha, planar and multiplied"
        yield _tiff(row, name, samples, refused, extra_samples=[1], **planes)
        for bits, kind, word in ((32, tiff.UNSIGNED, ""), (32, tiff.IEEE, " float"), (8, tiff.SIGNED, " signed")):
            refused = f"3 x {bits}-bit{word} samples, which is not supported"
            name = f"{bits}-bit{word}, {_byte_order(big_endian)}"
            options = {**rgb, "bits": bits, "sample_format": kind}
            yield _tiff("RGB, 32 bits, float or signed", name, row_of([[0, 1, 0]] * 2), refused, **options)


def tiff_other_colors() -> Iterator[PictureKind]:
    """TIFF files of CMYK, YCbCr and CIELAB."""
    inks = [(0, 255, 255, 0), (255, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)]
    printed = ((255, 0, 0), (0, 255, 255), (0, 0, 0), (255, 255, 255))
    for big_endian in (False, True):
        order = _byte_order(big_endian)
        for bits in (8, 16):
            options = {"photometric": tiff.CMYK, "bits": bits, "big_endian": big_endian}
            yield _tiff("CMYK, 8 or 16 bits", f"{bits} bits, {order}", scaled(inks, bits), printed, **options)
        luma = {"photometric": tiff.YCBCR, "big_endian": big_endian}
        yield _tiff("YCbCr", order, row_of([(76, 85, 255), (255, 128, 128)]), ((255, 0, 0), (255, 255, 255)), 1, **luma)
        lab = {"photometric": tiff.CIELAB, "big_endian": big_endian}
        numbers = row_of([(138, 81, 70), (255, 0, 0), (0, 0, 0)])  # L of 255, a and b as they are
        seen = ((255, 0, 0), (255, 255, 255), (0, 0, 0))
        yield _tiff("CIELAB", order, numbers, seen, 6, **lab)
        refused = "3 x 8-bit samples in separate planes, which is not supported"
        yield _tiff("CIELAB, planar, 16 bits or ICC", f"planar, {order}", numbers, refused, **lab, planar=True)
        refused = "3 x 16-bit samples, which is not supported"
        yield _tiff("CIELAB, planar, 16 bits or ICC", f"16 bits, {order}", numbers, refused, **lab, bits=16)
        refused = "3 x 8-bit samples, which is not supported"
        icc = {**lab, "photometric": 9}
        yield _tiff("CIELAB, planar, 16 bits or ICC", f"ICC, {order}", numbers, refused, **icc)


def _png(row: str, variant: str, samples: np.ndarray, kind: int, bits: int, expected: Any, *before: Any) -> PictureKind:
    def write(path: Path) -> None:
        png.write_png(path, samples, kind, bits, before=before)

    return PictureKind(("PNG", row), variant, "png", write, expected, 1)


def png_kinds() -> Iterator[PictureKind]:
    """PNG files of every color type, bit depth and kind of transparency."""
    for bits in (1, 2, 4, 8, 16):
        used = (0, 255) if bits == 1 else GRAYS
        yield _png("gray, 1 to 16 bits", f"{bits} bits", scaled(used, bits), png.GRAY, bits, used)
        key = (b"tRNS", struct.pack(">H", int(scaled(used, bits)[0, 0, 0])))
        name, expected = f"{bits} bits", (255, *used[1:])
        yield _png("gray, transparent color", name, scaled(used, bits), png.GRAY, bits, expected, key)
    for bits in (1, 2, 4, 8):
        used = COLORS[: 2**bits]
        table = (b"PLTE", np.asarray(used, np.uint8).tobytes())
        samples = row_of(range(len(used)))
        yield _png("palette", f"{bits} bits", samples, png.PALETTE, bits, used, table)
        opacity = (b"tRNS", bytes(HALF[: len(used)]))
        faded = over_white(used, HALF[: len(used)])
        yield _png("palette with transparency", f"{bits} bits", samples, png.PALETTE, bits, faded, table, opacity)
        one = (255, 0, 255, 255)[: len(used)]
        gone = over_white(used, one)
        yield _png(
            "palette with transparency",
            f"one color, {bits} bits",
            samples,
            png.PALETTE,
            bits,
            gone,
            table,
            (b"tRNS", bytes(one)),
        )
    for bits in (8, 16):
        name = f"{bits} bits"
        yield _png("RGB, 8 or 16 bits", name, scaled(COLORS, bits), png.RGB, bits, COLORS)
        key = (b"tRNS", scaled(COLORS[:1], bits).astype(">u2").tobytes())
        keyed = (GRAYS[-1:] * 3, *COLORS[1:])
        yield _png("RGB, transparent color", name, scaled(COLORS, bits), png.RGB, bits, keyed, key)
        samples = scaled(with_alpha(GRAYS)[0], bits)
        yield _png("gray or RGB with alpha", f"gray, {name}", samples, png.GRAY_ALPHA, bits, over_white(GRAYS))
        samples = scaled(with_alpha(COLORS)[0], bits)
        yield _png("gray or RGB with alpha", f"RGB, {name}", samples, png.RGB_ALPHA, bits, over_white(COLORS))


def _pillow(
    row: Row, suffix: str, mode: str, color: Any, expected: Any, tolerance: int = 3, **options: Any
) -> PictureKind:
    def write(path: Path) -> None:
        Image.new(mode, (16, 16), color).save(path, **options)

    return PictureKind(row, mode, suffix, write, (expected,), tolerance)


def _bytes(row: Row, variant: str, suffix: str, content: bytes, expected: Any) -> PictureKind:
    return PictureKind(row, variant, suffix, lambda path: path.write_bytes(content), expected, 1)


def other_formats() -> Iterator[PictureKind]:
    """What Pillow writes itself, and portable maps."""
    red, gray = (200, 40, 60), 170
    yield _pillow(("JPEG", "gray or RGB"), "jpg", "L", gray, gray)
    yield _pillow(("JPEG", "gray or RGB"), "jpg", "RGB", red, red)
    yield _pillow(("JPEG", "CMYK"), "jpg", "CMYK", (0, 255, 255, 0), (255, 0, 0))
    for mode, color, expected in (
        ("L", gray, gray),
        ("LA", (gray, 128), 212),
        ("RGB", red, red),
        ("RGBA", (*red, 0), 255),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 43690, gray),
    ):
        yield _pillow(("JPEG 2000", "gray, RGB, with alpha, CMYK, 8 or 16 bits"), "jp2", mode, color, expected)
    for mode, color, expected in (("RGB", red, red), ("RGBA", (*red, 128), (227, 147, 157))):
        yield _pillow(("WebP", "RGB, with alpha"), "webp", mode, color, expected, 4)
        yield _pillow(("AVIF", "RGB, with alpha"), "avif", mode, color, expected, 4)
    others = ("BMP, GIF, TGA", "gray, RGB, palette")
    for suffix in ("bmp", "gif", "tga"):
        for mode, color, expected in (("L", gray, gray), ("P", 0, 0), ("RGB", red, red)):
            yield _pillow(others, suffix, mode, color, expected)._replace(variant=f"{suffix} {mode}")
    maps = ("PBM, PGM, PPM", "1 to 16 bits")
    yield _bytes(maps, "bitmap", "pbm", b"P4 4 1 \x50", (255, 0, 255, 0))
    yield _bytes(maps, "graymap of 0 to 3", "pgm", b"P5 4 1 3 \0\1\2\3", GRAYS)
    for high in (1023, 65535):
        numbers = struct.pack(">4H", *(high * third // 3 for third in range(4)))
        yield _bytes(maps, f"graymap of 0 to {high}", "pgm", f"P5 4 1 {high} ".encode() + numbers, GRAYS)
        numbers = struct.pack(">3H", high, 0, high // 3)
        yield _bytes(maps, f"pixmap of 0 to {high}", "ppm", f"P6 1 1 {high} ".encode() + numbers, ((255, 0, 85),))
    thirds = [0, 1 / 3, 2 / 3, 1]
    yield _bytes(("PFM", "gray, float"), "little-endian", "pfm", b"Pf 4 1 -1.0\n" + struct.pack("<4f", *thirds), GRAYS)
    yield _bytes(("PFM", "gray, float"), "big-endian", "pfm", b"Pf 4 1 1.0\n" + struct.pack(">4f", *thirds), GRAYS)
    refused = "is not a picture that Pillow can read"
    yield _bytes(("PFM", "RGB, float"), "", "pfm", b"PF 1 1 -1.0\n" + struct.pack("<3f", 0, 1, 0), refused)
    for bits in (16, 32, -32):
        cards = {"SIMPLE": "T", "BITPIX": bits, "NAXIS": 2, "NAXIS1": 2, "NAXIS2": 1}
        header = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END"
        unknown = "holds FITS numbers and does not say which is black"
        content = header.ljust(2880).encode() + bytes(2880)
        yield _bytes(("FITS, McIdas, SPIDER", "more than 8 bits"), f"{bits} bits", "fits", content, unknown)


KINDS = (
    *tiff_gray(),
    *tiff_signed_and_float(),
    *tiff_alpha_and_palette(),
    *tiff_colors(),
    *tiff_other_colors(),
    *png_kinds(),
    *other_formats(),
)
