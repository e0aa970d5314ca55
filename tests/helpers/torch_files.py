"""Files in both forms of torch.save: written by torch, or by hand where torch would not write them."""

import io
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from convert_weights.pth.legacy_form import MAGIC_NUMBER, VERSION

FORMS = {"zip": True, "pickles": False}  # {form: torch.save's _use_new_zipfile_serialization}
UNREAD = b"\x80\x02}."  # a pickle of an empty dict


def save_as(form: str, path: Path, content: object, **options: object) -> Path:
    """Saves with torch.save in one of FORMS; returns the path."""
    torch.save(content, path, _use_new_zipfile_serialization=FORMS[form], **options)
    return path


@dataclass(frozen=True)
class Stored:
    """A reference to a storage, as the pickle of a file has it.

    Attributes:
      key: of the storage.
      count: elements that the pickle says it has.
      type: class of torch, which gives the type of the elements.
      rest: further values of the reference, where the form of pickles has the part that it means.
      kind: "storage", as torch writes.
    """

    key: str
    count: int
    type: type = torch.FloatStorage
    rest: tuple[object, ...] = ()
    kind: str = "storage"


class Call:
    """Its pickle calls a function; with a state, it gives the result that state."""

    def __init__(self, function: object, *arguments: object, state: object = None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


def tensor(stored: Stored, offset: object, shape: object, strides: object) -> Call:
    """A tensor as torch writes one."""
    return Call(torch._utils._rebuild_tensor_v2, stored, offset, shape, strides, False, {})


class _Pickler(pickle.Pickler):
    def persistent_id(self, found: object) -> tuple[object, ...] | None:
        if isinstance(found, Stored):
            return (found.kind, found.type, found.key, "cpu", found.count, *found.rest)
        return None


def pickled(content: object) -> bytes:
    """The pickle of a file's content."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def zip_by_hand(path: Path, pickle_bytes: bytes, storages: Mapping[str, bytes], **records: bytes) -> Path:
    """A zip file of a pickle, storages and further records."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_bytes)
        for name, content in {**records, **{f"data/{key}": values for key, values in storages.items()}}.items():
            archive.writestr(f"archive/{name}", content)
    return path


def pickles_by_hand(
    path: Path,
    pickle_bytes: bytes,
    storages: Mapping[str, np.ndarray],
    *,
    magic: bytes | None = None,
    facts: bytes = UNREAD,
    keys: bytes | None = None,
) -> Path:
    """A row of pickles and storages; each pickle but the content may be another than torch's."""
    head = [pickle.dumps(MAGIC_NUMBER, 2) if magic is None else magic, pickle.dumps(VERSION, 2), facts, pickle_bytes]
    listed = pickle.dumps([*storages], 2) if keys is None else keys
    values = [len(array).to_bytes(8, "little") + array.tobytes() for array in storages.values()]
    path.write_bytes(b"".join([*head, listed, *values]))
    return path


def by_hand(form: str, path: Path, content: object, storages: Mapping[str, np.ndarray]) -> Path:
    """A file of either form."""
    if form == "zip":
        return zip_by_hand(path, pickled(content), {key: values.tobytes() for key, values in storages.items()})
    return pickles_by_hand(path, pickled(content), storages)


def with_swapped_bytes(source: Path, target: Path, sizes: Mapping[str, int]) -> Path:
    """A zip file as a big-endian machine writes it: the bytes of each storage's elements, of `sizes`, swapped."""
    assert sys.byteorder == "little"
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as swapped:
        for entry in given.infolist():
            content, name = given.read(entry), entry.filename.partition("/")[2]
            if name == "byteorder":
                content = b"big"
            if name.startswith("data/"):
                size = sizes[name.removeprefix("data/")]
                content = np.frombuffer(content, f"u{size}").byteswap().tobytes()
            swapped.writestr(entry.filename, content)
    return target
