"""Packs photos and their masks into the shards and the index that `packed.py` reads."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from absl import logging
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError, first_line
from msst_jax.io.files import atomic_path, os_errors_as_user_errors, remove_temporary_files, write_json
from msst_jax.io.lock import LOCK_FILE, locked_folder
from msst_jax.training.data.packed import INDEX_FILE, PackedIndex, import_array_record
from msst_jax.training.data.packed_record import PackedRecord
from msst_jax.training.data.photos import FolderPhotos, Photos
from msst_jax.training.data.pipeline import fit_mask

SHARD = "photos-{:05d}.array_record"
SHARDS = "photos-*.array_record"
CONTAINED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # files that begin like JPEG and PNG are stored as they are
JPEG = {"quality": 95, "subsampling": 0}
WRITER = "group_size:1,uncompressed"  # each record by itself, for random access; pictures are compressed already
AHEAD = 64  # photos that are prepared while others are written

ReadMasks = Callable[[int, Image.Image], Mapping[str, Image.Image]]
"""(Index of a photo, the photo) to {region: gray picture, white inside}."""


class PackOptions(NamedTuple):
    """How photos are packed."""

    regions: Sequence[str]
    """Names of the masks, without the background."""
    size: int
    """Pixels of a photo's shorter side, at most; 0 = unchanged."""
    shards: int
    """Number of files."""
    leave_out: str
    """The column by which photos were left out of the source, for the index."""
    workers: int
    """Threads that read photos."""
    quiet: bool
    """No progress bar."""


def pack_photos(photos: Photos, masks: ReadMasks, folder: Path, options: PackOptions) -> PackedIndex:
    """Writes packed photos into a folder, all of them or nothing; damaged photos are left out with a warning.

    Args:
      photos: the photos.
      masks: of a photo.
      folder: that is new or empty, but for what a killed call has left.
      options: see `PackOptions`.

    Returns:
      What was written.

    Raises:
      UserError: the folder is not empty or in use, the disk is full, no photo can be read, or a mask is damaged.
    """
    import_array_record()
    with locked_folder(folder, "choose another --out"):
        _clear(folder)
        try:
            index = _write(photos, masks, folder, options)
            write_json(index.to_json(), folder / INDEX_FILE)  # last, since it marks the folder as packed photos
        except BaseException:
            _remove_shards(folder)
            raise
    return index


def _clear(folder: Path) -> None:
    """Removes what a killed call has left; UserError if the folder holds anything else."""
    if (folder / INDEX_FILE).exists():
        raise UserError(f"{folder} holds packed photos already; choose another --out, or remove it")
    _remove_shards(folder)
    found = sorted(path.name for path in folder.iterdir() if path.name != LOCK_FILE)
    if found:
        raise UserError(f"{folder} is not empty ({found[0]}); choose another --out")


def _remove_shards(folder: Path) -> None:
    for path in folder.glob(SHARDS):
        path.unlink()
    for pattern in (SHARDS, INDEX_FILE):
        remove_temporary_files(folder, pattern)


class _Written(NamedTuple):
    """The photos in the shards so far."""

    names: list[str]
    unmasked: dict[str, list[int]]
    digest: "hashlib._Hash"

    def add(self, record: PackedRecord, content: bytes) -> None:
        for region, unmasked in self.unmasked.items():
            if region not in record.masks:
                unmasked.append(len(self.names))
        self.names.append(record.name)
        self.digest.update(content)


def _write(photos: Photos, masks: ReadMasks, folder: Path, options: PackOptions) -> PackedIndex:
    """Writes the shards."""
    written = _Written([], {region: [] for region in options.regions}, hashlib.sha256())
    records, shards = _records(photos, masks, options), {}
    for number in range(options.shards):
        end = len(photos) * (number + 1) // options.shards
        path = folder / SHARD.format(number)
        if _write_shard(path, records, lambda index, end=end: index + 1 >= end, written):  # type: ignore[misc]
            shards[path.name] = path.stat().st_size
    if not written.names:
        raise UserError(f"none of the {len(photos)} photos can be read; give a folder of images that can")
    unmasked = {region: indices for region, indices in written.unmasked.items() if indices}
    sha256 = written.digest.hexdigest()
    return PackedIndex([*options.regions], written.names, unmasked, shards, sha256, options.leave_out)


def _write_shard(
    path: Path,
    records: Iterator[tuple[int, PackedRecord | None]],
    is_last: Callable[[int], bool],
    written: _Written,
) -> int:
    """Writes the records of (index of the photo, record) up to a photo; returns their number, none without a file."""
    writer_class = import_array_record().ArrayRecordWriter
    count = 0
    with os_errors_as_user_errors(path), atomic_path(path) as temporary:
        try:
            with closing(writer_class(str(temporary), WRITER)) as writer:
                for index, record in records:
                    if record:
                        content = record.to_bytes()
                        writer.write(content)
                        written.add(record, content)
                        count += 1
                    if is_last(index):
                        break
        except (RuntimeError, ValueError) as error:  # of array_record, such as on a full disk
            if isinstance(error, UserError):
                raise
            raise UserError(f"cannot write {path}: {first_line(error)}; choose another --out") from error
    if not count:
        path.unlink()
    return count


def _records(photos: Photos, masks: ReadMasks, options: PackOptions) -> Iterator[tuple[int, PackedRecord | None]]:
    """The records of all photos in their order, with the index; None of a damaged one."""

    def make(index: int) -> PackedRecord | UserError:
        try:
            photo = photos.read(index)
        except UserError as error:
            return error
        return _make_record(photos, index, photo, masks(index, photo), options)

    with (
        ThreadPoolExecutor(options.workers) as pool,
        tqdm(total=len(photos), desc="packing", unit="photo", disable=options.quiet or None) as bar,
    ):
        for start in range(0, len(photos), AHEAD):
            indices = range(start, min(start + AHEAD, len(photos)))
            for index, record in zip(indices, pool.map(make, indices), strict=True):
                if isinstance(record, UserError):
                    logging.warning("left out: %s", record)
                bar.update()
                yield index, None if isinstance(record, UserError) else record


def _make_record(
    photos: Photos, index: int, photo: Image.Image, masks: Mapping[str, Image.Image], options: PackOptions
) -> PackedRecord:
    small = _shrink(photo, options.size)
    stored = _encode(small, "JPEG", **JPEG) if small is not photo else _stored_file(photos, index, photo)
    if small is not photo:
        masks = {region: fit_mask(mask, small.size) for region, mask in masks.items()}
    encoded = {region: _encode(masks[region], "PNG") for region in options.regions if region in masks}
    return PackedRecord(photos.name(index), stored, encoded)


def _shrink(photo: Image.Image, size: int) -> Image.Image:
    """The photo with a shorter side of `size` pixels, or the photo itself if it is not larger."""
    shorter = min(photo.size)
    if not size or shorter <= size:
        return photo
    width, height = (max(size, round(side * size / shorter)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def _stored_file(photos: Photos, index: int, photo: Image.Image) -> bytes:
    """The photo's own file, if it is JPEG or PNG; else the photo as PNG."""
    if isinstance(photos, FolderPhotos):
        path = photos.files[index]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"photo {path} cannot be read ({error.strerror}); check it") from error
        if content.startswith(CONTAINED):
            return content
    return _encode(photo, "PNG")


def _encode(picture: Image.Image, form: str, **parameters: int) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **parameters)
    return content.getvalue()
