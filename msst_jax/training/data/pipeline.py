"""The input pipeline (grain): photos and masks to batches, sharded over hosts and resumable."""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.runtime.cores import available_cores
from msst_jax.training.data.augment import CropOptions, random_crop
from msst_jax.training.data.photos import Masks, Photos

MOST_WORKERS = 32  # threads without a number of one's own: two batches for each are kept in memory
PHOTOS_PER_HELD_OUT = 10  # at most one photo in so many is held out


def held_out_indices(count: int, wanted: int) -> list[int]:
    """Indices of `wanted` held-out photos, evenly spaced; fewer if there are few photos."""
    wanted = min(wanted, count // PHOTOS_PER_HELD_OUT)
    return [index * count // wanted for index in range(wanted)]


class PhotoExamples:
    """A random-access source of photos with masks, for grain. A photo that cannot be read is replaced by the next one.

    `damaged` maps the indices of unreadable photos to their errors; `small` holds those of photos that are upsampled.
    """

    def __init__(self, photos: Photos, masks: Masks, indices: Sequence[int], size: int):
        self.photos = photos
        self.masks = masks
        self.indices = indices
        self.size = size
        self.damaged: dict[int, UserError] = {}
        self.small: set[int] = set()

    def __len__(self) -> int:
        """The number of photos, including damaged ones."""
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """{"photo": RGB image, "masks": {region: gray image}}; a region without a mask is left out.

        Raises:
          UserError: no photo can be read.
        """
        for offset in range(len(self)):
            index = self.indices[(position + offset) % len(self)]
            if index in self.damaged:
                continue
            try:
                return self.example(index)
            except UserError as error:
                if self.damaged.setdefault(index, error) is error:  # another thread may have logged it already
                    logging.warning("left out: %s", error)
        raise UserError(f"none of the {len(self)} photos can be read; give a folder of images that can")

    def example(self, index: int) -> dict[str, Any]:
        """One photo with its masks.

        Raises:
          UserError: a file is damaged.
        """
        photo = self.photos.read(index)
        if min(photo.size) < self.size:
            self.small.add(index)
        masks = self.masks.read(index)
        return {"photo": photo, "masks": {region: fit_mask(mask, photo.size) for region, mask in masks.items()}}


def fit_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The mask at a photo's size (width, height)."""
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def batch_dataset(
    examples: PhotoExamples,
    crop: CropOptions,
    names: Sequence[str],
    *,
    batch: int,
    seed: int,
    hosts: int = 1,
    host: int = 0,
    draw: Callable[[np.random.Generator], dict[str, np.ndarray]] | None = None,
) -> grain.MapDataset:
    """The batches of `make_batches` by their number, each computed when it is asked for."""

    def example_of(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**random_crop(example, rng, crop, names), **(draw(rng) if draw else {})}

    dataset = grain.MapDataset.source(examples).seed(seed).shuffle().repeat()
    dataset = dataset.random_map(example_of)
    return dataset.batch(batch // hosts, drop_remainder=True)[host::hosts]


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
    draw: Callable[[np.random.Generator], dict[str, np.ndarray]] | None = None,
) -> grain.DatasetIterator:
    """Endless batches of this host: the batches b of all hosts together are the global batch b.

    Resuming with `get_state` and `set_state` is exact: element i is the same whenever and wherever it is computed.

    Args:
      examples: the photos.
      crop: see `CropOptions`.
      names: the regions, "background" among them.
      batch: photos per batch, over all hosts; divisible by `hosts`.
      seed: of the shuffling and the crops.
      workers: threads, each of which makes a batch; 0 = one for every core, up to MOST_WORKERS.
      hosts: number of training processes.
      host: index of this process.
      draw: further fields of every photo, see `TaskSpec`.
    """

    own = batch_dataset(examples, crop, names, batch=batch, seed=seed, hosts=hosts, host=host, draw=draw)
    threads = workers or min(available_cores(), MOST_WORKERS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(own.to_iter_dataset(options))
