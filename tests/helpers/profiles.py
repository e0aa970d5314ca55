"""Small color profiles whose effect is plain to see."""

import struct

from PIL import ImageCms

D50 = struct.pack(">3i", 63190, 65536, 54061)


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 input profile."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + D50,
        **tags,
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = start + len(data)
    created = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"scnr", space, connection) + created + b"acsp"
    return (header + bytes(28) + D50).ljust(128, b"\0") + table + data


def linear_gray() -> bytes:
    """Gray numbers that are proportional to light: 128 is sRGB 188."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0)})


def green_first() -> bytes:
    """RGB numbers whose first channel is green and whose second is red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def black_paper() -> bytes:
    """CMYK numbers of which only no ink at all is black, and everything else white."""
    identity = bytes(range(256))
    colors = b"".join(bytes([255 if index else 0, 128, 128]) for index in range(16))
    matrix = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + colors + identity * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table})


def lab() -> bytes:
    """CIELAB as it is."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
