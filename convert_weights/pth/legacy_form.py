"""The form before torch 1.6: pickles in a row, then the storages."""

import mmap
from typing import BinaryIO

from msst_jax.errors import UserError

from .parts import Parts
from .pickles import read_pickle
from .stand_ins import Storage
from .texts import shown

HEAD = b"\x80"  # the opcode that any pickle of torch.save begins with
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
COUNT_BYTES = 8  # of each storage, before its values


def read_pickles(file: BinaryIO) -> Parts:
    """The parts of such a file.

    Raises:
      UserError: it is not one of torch.save, or holds not only tensors.
      Exception: of almost any type, if it is damaged.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        for expected in (MAGIC_NUMBER, VERSION):
            found, _ = read_pickle(stream)
            if found != expected:
                raise UserError(f"begins with {shown(found)}, expected {expected} of torch.save; get it again")
        read_pickle(stream)  # facts about the machine that wrote it
        content, storages = read_pickle(stream)
        keys, _ = read_pickle(stream)
        places = _places(stream, [key if isinstance(key, str) else shown(key) for key in keys], storages)

    def read(key: str) -> bytes:
        if key not in places:
            raise UserError(f"lists no storage {shown(key)}: it is damaged; get it again")
        start, size = places[key]
        file.seek(start)
        return file.read(size)

    return Parts(content, read, "little")


def _places(stream: mmap.mmap, keys: list[str], storages: dict[str, Storage]) -> dict[str, tuple[int, int]]:
    """{key: (position of its values, bytes)} of the storages, which begin at the position of the stream."""
    position, places = stream.tell(), {}
    for key in keys:
        storage = storages.get(key)
        if storage is None:
            raise UserError(f"lists a storage {shown(key)} of no tensor: it is damaged; get it again")
        start = position + COUNT_BYTES
        count = int.from_bytes(stream[position:start], "little")
        position = start + storage.size
        if position > len(stream):
            raise UserError(f"is cut off: {len(stream)} bytes, {position} or more expected; get it again")
        if count != storage.count:
            raise UserError(f"has {count} values in a storage of {storage.count}: it is damaged; get it again")
        places[key] = start, storage.size
    return places
