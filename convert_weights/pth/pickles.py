"""Reads one pickle, in which only the names of `names` mean anything."""

import io
import pickle
import pickletools
from typing import Any, Protocol

from msst_jax.errors import UserError

from .names import find
from .stand_ins import Storage, StorageType
from .texts import shown

MEMO_WRITES = ("PUT", "BINPUT", "LONG_BINPUT")


class Stream(Protocol):
    """Bytes with a position: `io.BytesIO`, `mmap.mmap`, whose `read` allocates no more than there is."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""

    def readline(self) -> bytes:
        """Up to the end of the line."""

    def tell(self) -> int:
        """The position."""

    def seek(self, position: int, /) -> Any:
        """Goes there."""


def read_pickle(stream: Stream) -> tuple[Any, dict[str, Storage]]:
    """The pickle at the position of a stream, which is behind it afterwards.

    Returns:
      Its content, with stand-ins for tensors, and {key: storage} for what they lie in.

    Raises:
      UserError: it holds something else than plain values and tensors.
      Exception: of almost any type, if it is damaged.
    """
    unpickler = _Unpickler(io.BytesIO(_next_pickle(stream)), encoding="utf-8")
    return unpickler.load(), unpickler.storages


def _next_pickle(stream: Stream) -> bytes:
    """The bytes of the next pickle.

    A pickle numbers the objects that it refers to again, and Python allocates as many as the largest number says: that
    is compared with how many there can be so far.
    """
    start = stream.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        if opcode.name in MEMO_WRITES and int(argument or 0) > count:
            raise UserError(f"numbers object {argument} after {count} steps of its pickle: it is damaged; get it again")
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, *, encoding: str):
        super().__init__(file, encoding=encoding)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return find(module, name)

    def persistent_load(self, identity: Any) -> Storage:
        kind, *values = identity if isinstance(identity, tuple) else (identity,)
        if kind != "storage" or len(values) not in (4, 5) or not isinstance(values[0], StorageType):
            raise UserError(
                f"refers to a {shown(kind)} beside its pickle, not only to storages; save model.state_dict()"
            )
        element_type, key, _device, count, *view = values  # a part of another storage, in files before torch 0.4
        _key, start, length = view[0] if view and view[0] else (None, 0, count)
        if not all(is_count(number) for number in (count, start, length)) or start + length > count:
            raise UserError(f"has a storage of {shown((count, *view))} values: it is damaged; get it again")
        if not isinstance(key, str | int):  # the text of a container may be endless
            raise UserError(f"calls a storage {shown(key)}: it is damaged; get it again")
        storage = Storage(element_type, str(key), count, start, length)
        known = self.storages.setdefault(storage.key, storage)
        if (known.type, known.count) != (storage.type, storage.count):
            raise UserError(f"describes storage {shown(storage.key)} in two ways: it is damaged; get it again")
        return storage


def is_count(number: object) -> bool:
    """Whether a value of a pickle can be a count, an offset or a stride."""
    return type(number) is int and number >= 0
