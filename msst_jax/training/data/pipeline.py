"""Photos and their region masks to batches for training, in an order that can be resumed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from msst_jax.training.data.augment import CropOptions, random_crop
from msst_jax.training.data.masks import mask_files
from msst_jax.training.data.photos import Photos

PHOTOS_PER_HELD_OUT = 10  # at least: of fewer photos all are trained on


def held_out_indices(count: int, wanted: int) -> list[int]:
    """Indices of `wanted` photos that stay out of training, evenly spread; fewer if there are few photos."""
    wanted = min(wanted, count // PHOTOS_PER_HELD_OUT)
    return [index * count // wanted for index in range(wanted)]


class PhotoExamples:
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


def make_batches(
    examples: PhotoExamples,
    crop: CropOptions,
    names: Sequence[str],
    *,
    batch: int,
    seed: int,
    workers: int,
    hosts: int,
    host: int,
) -> grain.DatasetIterator:
    """Endless batches of this host's share: batch b of the whole is what all hosts' batches b make together.

    Its `get_state` and `set_state` resume exactly: element i is the same whenever, and wherever, it is made.

    Args:
      examples: the photos.
      crop: see `CropOptions`.
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
