"""Sources of training photos: image folders, packed photos, or TensorFlow datasets with random access."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError, first_line
from msst_jax.io.files import check_regular_file
from msst_jax.io.fingerprint import Fingerprint, fingerprint, relative_names
from msst_jax.io.folders import list_pictures
from msst_jax.io.images import read_picture
from msst_jax.io.remote import input_path
from msst_jax.training.data.packed import PackedPhotos, is_packed

TFDS_PREFIX = "tfds:"
INDEX_FILE = "index.csv"


class Masks(Protocol):
    """Random access to the masks of `Photos`, by the same indices."""

    def regions(self, index: int) -> Collection[str]:
        """The regions that a photo has masks of."""

    def read(self, index: int) -> dict[str, Image.Image]:
        """{region: gray picture, white inside} of a photo, of any size; UserError if one is damaged."""

    def fingerprint(self) -> Fingerprint:
        """Identifies the masks of an earlier run."""


class Photos(Protocol):
    """Random access to named photos."""

    def __len__(self) -> int:
        """The number of photos."""

    def name(self, index: int) -> str:
        """The stem of the photo's mask file."""

    def read(self, index: int) -> Image.Image:
        """The photo, 8-bit RGB; UserError if it is damaged."""

    def own_masks(self, regions: Sequence[str], further: Sequence[str] = ()) -> Masks | None:
        """The masks that the source itself has; None if it has none.

        Args:
          regions: names of the masks that are needed.
          further: of those that are taken where they are there.

        Raises:
          UserError: it has masks, but not of all regions.
        """

    def fingerprint(self) -> Fingerprint:
        """Identifies the photos of an earlier run."""


class FolderPhotos:
    """The images of one or more folders, in the order of their names."""

    def __init__(self, files: Mapping[str, Path]):
        """Takes {name that does not depend on where the folders lie: file}."""
        self.named = files
        self.files = list(files.values())

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.files)

    def name(self, index: int) -> str:
        """The file name without its suffix."""
        return self.files[index].stem

    def read(self, index: int) -> Image.Image:
        """The photo, 8-bit RGB; UserError if it is damaged."""
        return read_picture(self.files[index], "photo")

    def own_masks(self, regions: Sequence[str], further: Sequence[str] = ()) -> None:
        """None: masks lie in other folders."""

    def fingerprint(self) -> Fingerprint:
        """Of the files."""
        return fingerprint(self.named)


class TfdsPhotos:
    """The "image" of a prepared TensorFlow dataset with random access; no TensorFlow is needed."""

    def __init__(self, name: str):
        """Opens the split "train" of a dataset, or the one named after a colon, as in "coco/2017:validation".

        Raises:
          UserError: the extra is not installed, or there is no such prepared dataset.
        """
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            needed = "tensorflow-datasets array_record importlib_resources"
            raise UserError(f"{TFDS_PREFIX}{name} cannot be read ({error}); run pip install {needed}") from error
        self.spec = f"{TFDS_PREFIX}{name}"
        dataset, _, split = name.partition(":")
        try:
            self.source = tfds.data_source(dataset, split=split or "train")
        except Exception as error:  # tfds raises errors of many types for a name or format that it does not support
            reason = first_line(error)
            raise UserError(
                f"{TFDS_PREFIX}{name} cannot be read ({reason}); prepare it as array_record first"
            ) from error

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.source)

    def name(self, index: int) -> str:
        """The index of the example, zero-padded."""
        return f"{index:08d}"

    def read(self, index: int) -> Image.Image:
        """The photo, 8-bit RGB."""
        image = np.asarray(self.source[index]["image"])
        return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")

    def own_masks(self, regions: Sequence[str], further: Sequence[str] = ()) -> None:
        """None: masks lie in other folders."""

    def fingerprint(self) -> Fingerprint:
        """{dataset: [number of photos, ""]}: prepared datasets do not change otherwise."""
        return {self.spec: [len(self), ""]}


def photos_place(place: str) -> str:
    """A place as the user gives it, for `find_photos`: "tfds:NAME", or the folder that `input_path` makes of it.

    Raises:
      UserError: as `input_path`.
    """
    return place if place.startswith(TFDS_PREFIX) else str(input_path(place, "--photos"))


def find_photos(places: Sequence[str], leave_out: str = "") -> Photos:
    """The photos of folders, of one folder of packed photos, or of one "tfds:NAME".

    Args:
      places: the folders.
      leave_out: column of an index.csv; photos with a 1 there are left out. The first column holds their names, and
        the file lies in the folder of photos or its parent. "" = none; of packed photos those are left out that were
        when they were packed, of tfds none.

    Raises:
      UserError: no folder, no images in it, all left out, or an index that cannot be used.
    """
    if any(place.startswith(TFDS_PREFIX) for place in places):
        if len(places) > 1:
            raise UserError(f"--photos {TFDS_PREFIX}NAME cannot be combined with others; give one source")
        return TfdsPhotos(places[0].removeprefix(TFDS_PREFIX))
    packed = [place for place in places if is_packed(Path(place).expanduser())]
    if packed:
        if len(places) > 1:
            raise UserError(f"packed photos {packed[0]} cannot be combined with others; give one source")
        return _open_packed(packed[0], leave_out)
    files: dict[Path, list[Path]] = {}
    for place in places:
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise UserError(f"photos {place} is not a folder; give a folder of images, or {TFDS_PREFIX}NAME")
        files[folder] = _list_folder(folder, place, leave_out)
    return FolderPhotos(relative_names(files.items()))


def _open_packed(place: str, leave_out: str) -> PackedPhotos:
    """The packed photos of a folder; says so if others were left out of them than `leave_out` asks for."""
    photos = PackedPhotos(Path(place).expanduser())
    if photos.index.leave_out != leave_out:
        done = f"as {photos.index.leave_out}" if photos.index.leave_out else "by no column"
        logging.info("the photos of %s were left out %s when they were packed", place, done)
    return photos


def _list_folder(folder: Path, place: str, leave_out: str) -> list[Path]:
    """The image files of a folder (`place` in messages) and its subfolders, see `find_photos`."""
    excluded = _read_excluded(folder, leave_out) if leave_out else set()
    listing = list_pictures(folder, deep=True)
    found = listing.pictures
    if not found:
        raise UserError(f"photos {place} has no images{listing.describe_nothing()}; give a folder that has some")
    listing.warn(folder)
    kept = [path for path in found if path.stem not in excluded]
    if not kept:
        raise UserError(f"all {len(found)} photos of {place} are left out as {leave_out}; give others")
    if excluded:
        logging.info("%d of %d photos of %s are left out as %s", len(found) - len(kept), len(found), place, leave_out)
    return kept


def _read_excluded(folder: Path, column: str) -> set[str]:
    """The names of the photos that have a 1 in a column of the index.csv.

    Raises:
      UserError: the file lacks the column, or cannot be read.
    """
    resolved = folder.resolve()
    path = next((place / INDEX_FILE for place in (resolved, resolved.parent) if (place / INDEX_FILE).exists()), None)
    if path is None:
        logging.info("%s has no %s: no photo is left out as %s", folder, INDEX_FILE, column)
        return set()
    check_regular_file(path, "the list of photos")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); fix it, or give --config.leave_out=") from error
    if not rows or column not in rows[0]:
        raise UserError(f"{path} has no column {column}; fix it, or give --config.leave_out=")
    names = {next(iter(row.values())) for row in rows if row[column] == "1"}
    return names | {Path(name).stem for name in names}  # with and without suffix
