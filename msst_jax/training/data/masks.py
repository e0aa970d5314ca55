"""Masks of training photos: finds and checks the given ones, or segments the photos into the workdir."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.fingerprint import Fingerprint, fingerprint, relative_names
from msst_jax.io.images import save_picture, to_picture
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.mask_files import mask_series, read_own_mask
from msst_jax.regions.masks import foreground
from msst_jax.regions.region_names import region_classes
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter, segmenter_classes
from msst_jax.regions.selection import region_masks
from msst_jax.training.data.mask_index import MASK_SUFFIX, MaskIndex
from msst_jax.training.data.photos import Masks, Photos

SAMPLED_PHOTOS = 64  # whose masks are looked at to tell how all masks are stored
MIN_SPECK = 0.3  # percent of the photo: smaller components of segmented regions are removed
LISTING_AGE = 60.0  # seconds for which a network disk may show an old listing: NFS's acdirmax
POLL = 1.0  # seconds between two looks
PUBLISH_AFTER = 60.0  # seconds of computing masks, which are lost if the machine is
ADVICE = "set how such photos are used with --config.without_mask=background or, for the fast model, random"


class FolderMasks:
    """Masks of photos from folders, see `MaskIndex`: those that are there when it is built."""

    def __init__(self, photos: Photos, folders: Sequence[Path], names: Sequence[str], *, generated: bool = False):
        """Lists the folders, and looks at the masks of some photos to tell how all are stored.

        Args:
          photos: the photos.
          folders: of their masks; empty for none.
          names: the regions.
          generated: the run has written them, so that it is known how.

        Raises:
          UserError: a folder cannot be opened, or pictures that are no masks.
        """
        self.photos = photos
        self.index = MaskIndex(folders, names)
        self._read = read_own_mask if generated else self._reader()

    def _reader(self) -> Callable[[Path], Image.Image]:
        some = range(0, len(self.photos), max(1, len(self.photos) // SAMPLED_PHOTOS))
        files = [file for index in some for file in self.files(index).values()]
        return mask_series(files, f"masks {', '.join(map(str, self.index.folders))}")

    def files(self, index: int) -> dict[str, Path]:
        """{region: file} of a photo."""
        return self.index.files(self.photos.name(index))

    def regions(self, index: int) -> Collection[str]:
        """The regions that a photo has masks of."""
        return self.files(index).keys()

    def read(self, index: int) -> dict[str, Image.Image]:
        """{region: gray picture, white inside} of a photo; UserError if one is damaged."""
        return {region: self._read(file) for region, file in self.files(index).items()}

    def fingerprint(self) -> Fingerprint:
        """Of the files of all photos."""
        folders = self.index.folders
        masks: dict[Path, list[Path]] = {folder: [] for folder in folders}
        for index in range(len(self.photos)):
            for file in self.files(index).values():
                masks[next(folder for folder in folders if file.is_relative_to(folder))].append(file)
        return fingerprint(relative_names(masks.items()))


def check_names(photos: Photos, names: Sequence[str]) -> None:
    """Raises UserError if photos share a name, and with it their masks."""
    if not foreground(names):
        return
    counts = Counter(photos.name(index) for index in range(len(photos)))
    duplicates = [name for name, count in counts.items() if count > 1]
    if duplicates:
        raise UserError(
            f"{len(duplicates)} names belong to more than one photo (the first: {duplicates[0]}), so that their masks "
            "are ambiguous; rename the photos"
        )


def open_masks(
    photos: Photos, folders: Sequence[Path], names: Sequence[str], *, all_needed: bool, advice: str = ADVICE
) -> FolderMasks:
    """The masks that lie in folders.

    Args:
      photos: the photos.
      folders: of masks.
      names: the regions.
      all_needed: a photo without a mask is an error.
      advice: what that error says can be done beside adding them.

    Raises:
      UserError: no such folder, a photo without a mask, or pictures that are no masks.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"masks {folder} is not a folder; give a folder of masks named like the photos")
    masks = FolderMasks(photos, folders, names)
    if foreground(names) and all_needed:
        check_complete(photos, masks, ", ".join(map(str, folders)), advice)
    return masks


def check_complete(photos: Photos, masks: Masks, where: str, advice: str = ADVICE) -> None:
    """Raises UserError if a photo has no mask; `where` says where they lie, `advice` what else can be done."""
    missing = photos_without_mask(photos, masks.regions, 1)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(photos)} photos have no mask in {where} (the first: {photos.name(missing[0])}); "
            f"add the masks, or {advice}"
        )


def photos_without_mask(photos: Photos, regions: Callable[[int], Collection[str]], minimum: int) -> list[int]:
    """Indices of the photos that have masks of fewer than `minimum` regions; `regions` is that of `Masks`."""
    return [index for index in range(len(photos)) if len(regions(index)) < minimum]


def open_generated(photos: Photos, folder: Path, names: Sequence[str], *, patience: float) -> FolderMasks:
    """The masks that all hosts have computed, once this host sees those of every photo that can be read.

    Args:
      photos: the photos.
      folder: of the masks.
      names: the regions.
      patience: seconds to wait for what other hosts have written, since network disks show it late.

    Raises:
      UserError: masks are not there: their photos would be all background, without a word.
    """
    deadline = time.monotonic() + patience
    while missing := _readable_from(photos, _incomplete(photos, folder, names)):
        if time.monotonic() >= deadline:
            raise UserError(
                f"{len(missing)} of {len(photos)} photos have no mask in {folder} on host {jax.process_index()} (the "
                f"first: {photos.name(missing[0])}); give a --workdir on a disk that all hosts share, or --masks DIR"
            )
        time.sleep(POLL)
    return FolderMasks(photos, [folder], names, generated=True)


def _incomplete(photos: Photos, folder: Path, names: Sequence[str]) -> list[int]:
    """Indices of the photos that lack one of the masks that are computed into a folder."""
    index = MaskIndex([folder], names)
    return photos_without_mask(photos, lambda photo: index.files(photos.name(photo)), len(foreground(names)))


def _readable_from(photos: Photos, indices: Sequence[int]) -> Sequence[int]:
    """The indices from the first photo on that can be read; damaged ones get no mask, and are not trained on."""
    for position, index in enumerate(indices):
        with suppress(UserError):
            photos.read(index)
            return indices[position:]
    return []


def load_segmenter_if_needed(
    name: str, photos: Photos, folder: Path | None, names: Sequence[str]
) -> AnySegmenter | None:
    """Loads the segmenter if photos lack masks.

    Args:
      name: see `load_segmenter`.
      photos: the photos.
      folder: of the masks that an earlier call computed; None if there cannot be any.
      names: the regions.

    Raises:
      UserError: an unknown region, or a segmenter that cannot be loaded.
    """
    regions = foreground(names)
    if not regions:
        return None
    region_classes(regions, segmenter_classes(name))
    if folder and not _incomplete(photos, folder, names):
        return None
    return load_segmenter(name, regions, instead="--masks DIR")


def generate_masks(
    segmenter: AnySegmenter,
    photos: Photos,
    folder: Path,
    names: Sequence[str],
    *,
    refine: bool,
    quiet: bool,
    publish: Callable[[], None] | None = None,
) -> None:
    """Segments this host's share of the photos without masks; writes FOLDER/REGION/NAME.png.

    Args:
      segmenter: the network.
      photos: the photos; damaged ones get no mask.
      folder: of the masks.
      names: the regions.
      refine: see `class_probabilities`.
      quiet: no progress bar.
      publish: called every PUBLISH_AFTER seconds, and at the end.

    Raises:
      UserError: the disk is full, or the file system refuses.
    """
    segment = photo_segmenter(segmenter, foreground(names), refine=refine)
    pending = _incomplete(photos, folder, names)
    own = [index for index in pending if index % jax.process_count() == jax.process_index()]
    published = time.monotonic()
    for index in tqdm(own, desc="masks", unit="photo", disable=quiet or None):
        if publish and time.monotonic() > published + PUBLISH_AFTER:
            publish()
            published = time.monotonic()
        try:
            photo = photos.read(index)
        except UserError:
            continue  # the input pipeline logs it
        for region, mask in segment(photo, photos.name(index)).items():
            save_picture(mask, folder / region / f"{photos.name(index)}{MASK_SUFFIX}")
    if publish:
        publish()


def photo_segmenter(
    segmenter: AnySegmenter, regions: Sequence[str], *, refine: bool
) -> Callable[[Image.Image, str], dict[str, Image.Image]]:
    """(Photo, its name) to {region: gray picture, white inside} of the photo's size, as masks of training.

    Args:
      segmenter: the network.
      regions: without the background.
      refine: see `class_probabilities`.
    """

    def segment(photo: Image.Image, name: str) -> dict[str, Image.Image]:
        try:
            probabilities = class_probabilities(segmenter, photo, refine=refine)
        except UserError as error:
            raise UserError(f"photo {name}: {error}") from error
        masks = region_masks(probabilities, regions, segmenter.classes, min_speck=MIN_SPECK, must_exist=False)
        return {region: _to_gray(masks[region]) for region in regions}

    return segment


def _to_gray(mask: np.ndarray) -> Image.Image:
    return to_picture(np.repeat(mask[..., None], 3, -1)).convert("L")
