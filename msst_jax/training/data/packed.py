"""Packed photos: a folder of array_record shards, a record for each photo with its masks, and an index in JSON.

`pack.py` writes them. On disks that many hosts share, and for many small photos, a few large files are read faster than
a file for each photo and mask.
"""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from PIL import Image

from msst_jax.errors import UserError, first_line
from msst_jax.io.fingerprint import Fingerprint
from msst_jax.io.images import read_picture
from msst_jax.regions.masks import foreground
from msst_jax.training.data.packed_record import PackedRecord, parse_record

INDEX_FILE = "packed_photos.json"
VERSION = 1
AGAIN = "pack the photos again"


class PackedIndex(NamedTuple):
    """What lies in the shards."""

    regions: list[str]
    """Those that there are masks of, without the background; none if there are photos alone."""
    names: list[str]
    """Of the photos, in the order of the records."""
    unmasked: dict[str, list[int]]
    """{region: indices of the photos that have no mask of it}; regions that all have a mask of are left out."""
    shards: dict[str, int]
    """{file: bytes}, in order."""
    sha256: str
    """Of all records, one after the other."""
    leave_out: str
    """The column of the index.csv by which photos were left out; "" = none."""

    def to_json(self) -> dict[str, Any]:
        """The content of INDEX_FILE."""
        return {"version": VERSION, "count": len(self.names), **self._asdict()}


def is_packed(folder: Path) -> bool:
    """Whether a folder holds packed photos."""
    return (folder / INDEX_FILE).is_file()


def _read_index(folder: Path) -> PackedIndex:
    """The index of packed photos.

    Raises:
      UserError: it is damaged or of a later version, or a shard is missing or incomplete.
    """
    path = folder / INDEX_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if version != VERSION:
            raise UserError(f"{path} has the version {version}, and this program reads {VERSION}; {AGAIN}")
        index = PackedIndex(**{field: content[field] for field in PackedIndex._fields})
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged or cannot be read ({first_line(error)}); {AGAIN}") from error
    for name, size in index.shards.items():
        try:
            found = (folder / name).stat().st_size
        except OSError as error:
            raise UserError(f"packed photos {folder / name} cannot be read ({error.strerror}); {AGAIN}") from error
        if found != size:
            raise UserError(f"packed photos {folder / name} have {found} bytes and not {size}; {AGAIN}")
    return index


def import_array_record() -> ModuleType:
    """The module that writes and reads records; UserError if it is not installed: on Windows grain does without."""
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise UserError(f"packed photos need array_record ({error}); run pip install array_record") from error
    return array_record_module


class PackedPhotos:
    """The photos of a folder that `pack.py` wrote."""

    def __init__(self, folder: Path):
        """Opens the folder.

        Raises:
          UserError: it is damaged, or array_record is not installed.
        """
        self.folder = folder
        self.index = _read_index(folder)
        import_array_record()
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            self._source = ArrayRecordDataSource([str(folder / name) for name in self.index.shards])
        except Exception as error:  # it raises errors of many types
            raise UserError(f"packed photos {folder} cannot be read ({first_line(error)}); {AGAIN}") from error
        if len(self._source) != len(self):
            raise UserError(f"packed photos {folder} are {len(self._source)} and not {len(self)}; {AGAIN}")

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.index.names)

    def name(self, index: int) -> str:
        """The name of the photo's file without its suffix."""
        return self.index.names[index]

    def read(self, index: int) -> Image.Image:
        """The photo, 8-bit RGB; UserError if it is damaged."""
        return read_picture(self.name(index), "photo", content=self.record(index).photo)

    def record(self, index: int) -> PackedRecord:
        """The photo and its masks, encoded; UserError if they are damaged."""
        try:
            return parse_record(self._source[index])
        except Exception as error:  # of array_record
            raise UserError(f"photo {self.name(index)} of {self.folder} is damaged ({first_line(error)})") from error

    def own_masks(self, regions: Sequence[str], further: Sequence[str] = ()) -> "PackedMasks | None":
        """The masks that are packed with the photos; None if there are none.

        Args:
          regions: names of the masks that are needed.
          further: of those that are taken where they are there.

        Raises:
          UserError: there are masks, but not of all regions.
        """
        known = self.index.regions
        absent = [region for region in foreground(regions) if region not in known]
        if not known:
            return None
        if absent:
            raise UserError(
                f"packed photos {self.folder} have masks of {', '.join(known)}, not of {', '.join(absent)}; pack them "
                "with these --regions, or give --masks DIR"
            )
        return PackedMasks(self, [region for region in foreground([*regions, *further]) if region in known])

    def fingerprint(self) -> Fingerprint:
        """Of the shards."""
        return {INDEX_FILE: [sum(self.index.shards.values()), self.index.sha256]}


class PackedMasks:
    """The masks of packed photos."""

    def __init__(self, photos: PackedPhotos, regions: Sequence[str]):
        """Takes the photos, and the regions whose masks are read."""
        self.photos = photos
        unmasked: Mapping[str, Collection[int]] = photos.index.unmasked
        self._unmasked = {region: frozenset(unmasked.get(region, ())) for region in regions}

    def regions(self, index: int) -> Collection[str]:
        """The regions that a photo has masks of."""
        return [region for region, unmasked in self._unmasked.items() if index not in unmasked]

    def read(self, index: int) -> dict[str, Image.Image]:
        """{region: gray picture, white inside} of a photo; UserError if one is damaged."""
        if not (regions := self.regions(index)):
            return {}
        masks = self.photos.record(index).masks
        try:
            return {region: Image.open(io.BytesIO(masks[region])).convert("L") for region in regions}
        except Exception as error:  # Pillow raises errors of many types
            label = f"masks of photo {self.photos.name(index)} of {self.photos.folder}"
            raise UserError(f"{label} are damaged ({first_line(error)}); {AGAIN}") from error

    def fingerprint(self) -> Fingerprint:
        """Nothing that is not in the photos' own."""
        return {}
