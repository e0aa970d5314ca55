"""Photos and their region masks to batches for training: random crops, in an order that can be resumed."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np
from absl import logging
from PIL import Image, ImageDraw, ImageEnhance

from msst_jax.errors import UserError, first_line
from msst_jax.images import read_picture
from msst_jax.regions import BACKGROUND, complete

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PHOTOS_PER_HELD_OUT = 10  # at least: of fewer photos all are trained on
TFDS = "tfds:"
INDEX = "index.csv"
GREY = 118  # of 255, the mean of photographs: after `images.normalize` about 0


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
            raise UserError(f"{TFDS}{name} needs the extra tfds ({error}): pip install -e '.[tfds]'") from error
        self.place = f"{TFDS}{name}"
        dataset, _, split = name.partition(":")
        try:
            self.source = tfds.data_source(dataset, split=split or "train")
        except Exception as error:  # tfds raises many kinds for a name or a format that it cannot serve
            reason = first_line(error)
            raise UserError(f"{TFDS}{name} cannot be read ({reason}); prepare it as array_record first") from error

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
      leave_out: photos with a 1 in this column of an index.csv are left out; the first column has their names without
        ending, and the file lies in the folder of photos or in the one above. "" = none, nor any in tfds.

    Raises:
      UserError: no folder, no pictures in it, all left out, or an index that cannot be used.
    """
    if any(place.startswith(TFDS) for place in places):
        if len(places) > 1:
            raise UserError(f"--photos {TFDS}NAME cannot be joined with others; give one place")
        return TfdsPhotos(places[0].removeprefix(TFDS))
    files: list[Path] = []
    for place in places:
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise UserError(f"photos {place} is no folder; give a folder of pictures, or {TFDS}NAME")
        marked = _marked(folder, leave_out) if leave_out else set()
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        if not found:
            raise UserError(f"photos {place} has no pictures ({', '.join(ENDINGS)}); give a folder that has some")
        kept = [path for path in found if path.stem not in marked]
        if not kept:
            raise UserError(f"all {len(found)} photos of {place} are left out as {leave_out}; give others")
        files += kept
    return FolderPhotos(files)


def _marked(folder: Path, column: str) -> set[str]:
    """Names of the photos that an index.csv marks.

    Raises:
      UserError: the file lacks the column, or cannot be read.
    """
    path = next((place / INDEX for place in (folder, folder.parent) if (place / INDEX).exists()), None)
    if path is None:
        logging.info("%s has no %s: no photo is left out as %s", folder, INDEX, column)
        return set()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); mend it, or give --config.leave_out=") from error
    if not rows or column not in rows[0]:
        raise UserError(f"{path} has no column {column}; mend it, or give --config.leave_out=")
    names = {next(iter(row.values())) for row in rows if row[column] == "1"}
    logging.info("%s: %d of %d photos are left out as %s", path, len(names), len(rows), column)
    return names


def held_out(count: int, wanted: int) -> list[int]:
    """Indices of `wanted` photos that stay out of training, evenly spread; fewer if there are few photos."""
    wanted = min(wanted, count // PHOTOS_PER_HELD_OUT)
    return [index * count // wanted for index in range(wanted)]


def mask_files(folders: Sequence[Path], names: Sequence[str], stem: str) -> dict[str, Path]:
    """{region: file} of a photo's masks: FOLDER/REGION/STEM.png, or FOLDER/STEM.png for the only region to find."""
    wanted = [name for name in names if name != BACKGROUND]
    found: dict[str, Path] = {}
    for folder in folders:
        for name in wanted:
            places = [folder / name / f"{stem}.png"]
            if len(wanted) == 1:
                places.append(folder / f"{stem}.png")
            for place in places:
                if place.exists():
                    found[name] = place
    return found


class Crop(NamedTuple):
    """How a photo becomes an example."""

    size: int
    """Side in pixels."""
    smallest: float
    """Side of the crop at least, as a share of the photo's shorter side."""
    largest: float = 1.0
    """Side of the crop at most; above 1 it reaches beyond the photo, where all masks are 0 and the photo is grey."""
    colour: float = 0.0
    """Brightness, contrast and saturation change by up to this share; 0 leaves the colours alone."""


class Examples:
    """A random-access source of photos with masks, for grain. What cannot be read is replaced by the next photo.

    `damaged` has the indices of the photos that could not be read, and why; `small` of those that had to be enlarged.
    """

    def __init__(self, photos: Photos, indices: Sequence[int], masks: Sequence[Path], names: Sequence[str], size: int):
        self.photos = photos
        self.indices = indices
        self.masks = masks
        self.names = names
        self.size = size
        self.damaged: dict[int, UserError] = {}
        self.small: set[int] = set()

    def __len__(self) -> int:
        """How many photos, damaged ones too."""
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """{"photo": RGB picture, "masks": {region: grey picture}}; a region without a mask is left out.

        Raises:
          UserError: no photo can be read.
        """
        for tried in range(len(self)):
            index = self.indices[(position + tried) % len(self)]
            if index in self.damaged:
                continue
            try:
                return self.example(index)
            except UserError as error:
                if self.damaged.setdefault(index, error) is error:  # two threads may find it at once
                    logging.warning("left out: %s", error)
        raise UserError(f"none of the {len(self)} photos can be read; give a folder of pictures that can")

    def example(self, index: int) -> dict[str, Any]:
        """One photo with its masks.

        Raises:
          UserError: a file is damaged.
        """
        name = self.photos.name(index)
        photo = self.photos.read(index)
        if min(photo.size) < self.size:
            self.small.add(index)
        files = mask_files(self.masks, self.names, name)
        return {"photo": photo, "masks": {region: _read_mask(file, photo) for region, file in files.items()}}


def _read_mask(file: Path, photo: Image.Image) -> Image.Image:
    mask = read_picture(file, "mask", backdrop="black").convert("L")
    return mask if mask.size == photo.size else mask.resize(photo.size, Image.Resampling.BILINEAR)


def random_crop(example: Mapping[str, Any], rng: np.random.Generator, crop: Crop, names: Sequence[str]) -> dict:
    """A square piece, mirrored or not: {"photo": uint8 (S, S, 3), "masks": float32 (S, S, K) of sum 1}.

    A photo without any mask gets random regions. Beyond the photo the masks' sum is 0.
    """
    photo = example["photo"]
    side = round(rng.uniform(crop.smallest, crop.largest) * min(photo.size))
    left, top = (_offset(length - side, rng) for length in photo.size)
    mirrored = rng.random() < 0.5
    masks = example["masks"] or random_masks(photo.size, names, rng)
    if crop.colour:
        photo = _recoloured(photo, rng, crop.colour)
    return _cut(photo, masks, (left, top, left + side, top + side), crop.size, mirrored, names)


def _offset(room: int, rng: np.random.Generator) -> int:
    """Where a crop begins: anywhere within the photo or, where it is the longer one (room < 0), around it."""
    return int(rng.integers(min(room, 0), max(room, 0) + 1))


def _recoloured(photo: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = kind(photo).enhance(rng.uniform(1 - share, 1 + share))
    return photo


def centre_crop(example: Mapping[str, Any], size: int, names: Sequence[str]) -> dict:
    """The largest square in the middle of a photo; see `random_crop`. Always the same."""
    photo = example["photo"]
    side = min(photo.size)
    left, top = ((length - side) // 2 for length in photo.size)
    masks = example["masks"] or random_masks(photo.size, names, np.random.default_rng(0))
    return _cut(photo, masks, (left, top, left + side, top + side), size, False, names)


def _cut(
    photo: Image.Image,
    masks: Mapping[str, Image.Image],
    box: tuple[int, int, int, int],
    size: int,
    mirrored: bool,
    names: Sequence[str],
) -> dict:
    beyond = box[0] < 0 or box[1] < 0 or box[2] > photo.width or box[3] > photo.height

    def piece(picture: Image.Image, backdrop: int = 0) -> np.ndarray:
        within = box
        if beyond:
            picture, within = _on_backdrop(picture, box, backdrop), (0, 0, box[2] - box[0], box[3] - box[1])
        values = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=within))
        return values[:, ::-1] if mirrored else values

    def share(mask: Image.Image) -> np.ndarray:
        return piece(mask).astype(np.float32) / np.float32(255)

    whole = complete({name: share(mask) for name, mask in masks.items()}, names, (size, size))
    if beyond:
        whole = whole * (share(Image.new("L", photo.size, 255)) > 0.5)[..., None]
    return {"photo": np.ascontiguousarray(piece(photo, GREY)), "masks": whole}


def _on_backdrop(picture: Image.Image, box: tuple[int, int, int, int], level: int) -> Image.Image:
    """The part of a picture in a box, and a level of grey where the box reaches beyond it."""
    backdrop = Image.new(picture.mode, (box[2] - box[0], box[3] - box[1]), (level,) * len(picture.getbands()))
    backdrop.paste(picture, (-box[0], -box[1]))
    return backdrop


def random_masks(size: tuple[int, int], names: Sequence[str], rng: np.random.Generator) -> dict[str, Image.Image]:
    """An ellipse anywhere for every region but the background."""
    masks = {}
    for name in names:
        if name != BACKGROUND:
            masks[name] = Image.new("L", size)
            centre, radius = (rng.uniform(low, high, 2) * size for low, high in ((0.2, 0.8), (0.15, 0.5)))
            ImageDraw.Draw(masks[name]).ellipse([*(centre - radius), *(centre + radius)], fill=255)
    return masks


def batches(
    examples: Examples, crop: Crop, names: Sequence[str], *, batch: int, seed: int, workers: int, hosts: int, host: int
) -> grain.DatasetIterator:
    """Endless batches of this host's share: batch b of the whole is what all hosts' batches b make together.

    Its `get_state` and `set_state` resume exactly: element i is the same whenever, and wherever, it is made.

    Args:
      examples: the photos.
      crop: see `Crop`.
      names: the regions, "background" among them.
      batch: photos a batch, over all hosts; divisible by `hosts`.
      seed: of order and crops.
      workers: threads that read.
      hosts: how many processes train.
      host: which one this is.
    """
    dataset = grain.MapDataset.source(examples).seed(seed).shuffle().repeat()
    dataset = dataset.random_map(lambda example, rng: random_crop(example, rng, crop, names))
    mine = dataset.batch(batch // hosts, drop_remainder=True)[host::hosts]
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    return iter(mine.to_iter_dataset(options))
