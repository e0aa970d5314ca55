"""Where photos for training come from: folders, or TensorFlow datasets with random access."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError, first_line
from msst_jax.io.images import IMAGE_SUFFIXES, read_picture

TFDS_PREFIX = "tfds:"
INDEX_FILE = "index.csv"


class Photos(Protocol):
    """Pictures with a name each, in any order."""

    def __len__(self) -> int:
        """How many."""

    def name(self, index: int) -> str:
        """Stem of the mask file."""

    def read(self, index: int) -> Image.Image:
        """The picture, 8-bit RGB; UserError if it is damaged."""

    def sizes(self) -> dict[str, int]:
        """{name: size}: what shows, without reading them, that they are the photos of an earlier run."""


class FolderPhotos:
    """The pictures of one or more folders, in the order of their names."""

    def __init__(self, files: Sequence[Path]):
        self.files = list(files)

    def __len__(self) -> int:
        """How many."""
        return len(self.files)

    def name(self, index: int) -> str:
        """File name without its ending."""
        return self.files[index].stem

    def read(self, index: int) -> Image.Image:
        """The picture, 8-bit RGB; UserError if it is damaged."""
        return read_picture(self.files[index], "photo")

    def sizes(self) -> dict[str, int]:
        """{file: bytes}."""
        return file_sizes(self.files)


class TfdsPhotos:
    """The "image" of a prepared TensorFlow dataset with random access; no TensorFlow is needed."""

    def __init__(self, name: str):
        """Opens split "train" of a dataset; a split of its own can be named as in "coco/2017:validation".

        Raises:
          UserError: the extra is not installed, or there is no such prepared dataset.
        """
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise UserError(f"{TFDS_PREFIX}{name} needs the extra tfds ({error}): pip install -e '.[tfds]'") from error
        self.place = f"{TFDS_PREFIX}{name}"
        dataset, _, split = name.partition(":")
        try:
            self.source = tfds.data_source(dataset, split=split or "train")
        except Exception as error:  # tfds raises many kinds for a name or a format that it cannot serve
            reason = first_line(error)
            raise UserError(
                f"{TFDS_PREFIX}{name} cannot be read ({reason}); prepare it as array_record first"
            ) from error

    def __len__(self) -> int:
        """How many."""
        return len(self.source)

    def name(self, index: int) -> str:
        """The number of the example."""
        return f"{index:08d}"

    def read(self, index: int) -> Image.Image:
        """The picture, 8-bit RGB."""
        image = np.asarray(self.source[index]["image"])
        return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")

    def sizes(self) -> dict[str, int]:
        """{dataset: number of photos}: prepared datasets do not change otherwise."""
        return {self.place: len(self)}


def file_sizes(files: Iterable[Path]) -> dict[str, int]:
    """{file: bytes}; -1 of one that cannot be reached, such as a broken link."""

    def size(file: Path) -> int:
        try:
            return file.stat().st_size
        except OSError:
            return -1

    return {str(file): size(file) for file in files}


def find_photos(places: Sequence[str], leave_out: str = "") -> Photos:
    """The photos of folders, or of one "tfds:NAME".

    Args:
      places: the folders.
      leave_out: photos with a 1 in this column of an index.csv are left out; the first column has their names, and
        the file lies in the folder of photos or in the one above. "" = none, nor any in tfds.

    Raises:
      UserError: no folder, no pictures in it, all left out, or an index that cannot be used.
    """
    if any(place.startswith(TFDS_PREFIX) for place in places):
        if len(places) > 1:
            raise UserError(f"--photos {TFDS_PREFIX}NAME cannot be joined with others; give one place")
        return TfdsPhotos(places[0].removeprefix(TFDS_PREFIX))
    files: list[Path] = []
    for place in places:
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise UserError(f"photos {place} is no folder; give a folder of pictures, or {TFDS_PREFIX}NAME")
        marked = _marked(folder, leave_out) if leave_out else set()
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise UserError(
                f"photos {place} has no pictures ({', '.join(IMAGE_SUFFIXES)}); give a folder that has some"
            )
        kept = [path for path in found if path.stem not in marked]
        if not kept:
            raise UserError(f"all {len(found)} photos of {place} are left out as {leave_out}; give others")
        if marked:
            logging.info(
                "%d of %d photos of %s are left out as %s", len(found) - len(kept), len(found), place, leave_out
            )
        files += kept
    return FolderPhotos(files)


def _marked(folder: Path, column: str) -> set[str]:
    """Names of the photos that an index.csv marks.

    Raises:
      UserError: the file lacks the column, or cannot be read.
    """
    whole = folder.resolve()
    path = next((place / INDEX_FILE for place in (whole, whole.parent) if (place / INDEX_FILE).exists()), None)
    if path is None:
        logging.info("%s has no %s: no photo is left out as %s", folder, INDEX_FILE, column)
        return set()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); mend it, or give --config.leave_out=") from error
    if not rows or column not in rows[0]:
        raise UserError(f"{path} has no column {column}; mend it, or give --config.leave_out=")
    names = {next(iter(row.values())) for row in rows if row[column] == "1"}
    return names | {Path(name).stem for name in names}  # with the ending or without
