"""The form since torch 1.6: a zip file."""

import io
import zipfile
from typing import BinaryIO

from msst_jax.errors import UserError

from .parts import Parts
from .pickles import read_pickle
from .texts import shown

HEAD = b"PK\x03\x04"


def read_zip(file: BinaryIO) -> Parts:
    """The parts of a zip file.

    Raises:
      UserError: it is not one of torch.save, or holds not only tensors.
      Exception: of almost any type, if it is damaged.
    """
    archive = zipfile.ZipFile(file)
    _check_sizes(archive.infolist(), file.seek(0, io.SEEK_END))
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError(f"is a zip file with {len(pickles)} entries data.pkl, not one of torch.save; get it again")
    folder = pickles[0].partition("/")[0]

    def read(name: str) -> bytes:
        entry = entries.get(f"{folder}/{name}")
        if entry is None:
            raise UserError(f"has no entry {shown(f'{folder}/{name}')}: it is damaged; get it again")
        try:
            return archive.read(entry)  # compares the checksum
        except zipfile.BadZipFile as error:
            raise zipfile.BadZipFile(f"{shown(entry.filename)} is damaged") from error

    byteorder = read("byteorder").decode("ascii", "replace") if f"{folder}/byteorder" in entries else "little"
    if byteorder not in ("little", "big"):
        raise UserError(f"has values of byte order {shown(byteorder)}, expected little or big; get it again")
    content, _ = read_pickle(io.BytesIO(read("data.pkl")))
    return Parts(content, lambda key: read(f"data/{key}"), byteorder)


def _check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuses what would unpack to more than the file holds."""
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise UserError(
                f"has a compressed entry, {shown(entry.filename)}, as torch.save makes none; save it with torch.save"
            )
    claimed = sum(max(entry.file_size, entry.compress_size) for entry in entries)
    if claimed > size:
        raise UserError(f"has entries of {claimed} bytes in a file of {size}: it is damaged; get it again")
