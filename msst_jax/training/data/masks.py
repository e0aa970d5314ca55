"""Mask files of training photos: finds and checks the given ones, or segments the photos into the workdir."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.images import save_picture, to_picture
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.mask_files import mask_series
from msst_jax.regions.masks import foreground
from msst_jax.regions.region_names import region_classes
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter, segmenter_classes
from msst_jax.regions.selection import region_masks
from msst_jax.training.data.photos import Photos

SAMPLED_PHOTOS = 64  # whose masks are looked at to tell how all masks are stored
MIN_SPECK = 0.3  # percent of the photo: smaller components of segmented regions are removed


def mask_files(folders: Sequence[Path], names: Sequence[str], stem: str) -> dict[str, Path]:
    """{region: file} of a photo's masks: FOLDER/REGION/STEM.png, or FOLDER/STEM.png for the only foreground region."""
    regions = foreground(names)
    files: dict[str, Path] = {}
    for folder in folders:
        for name in regions:
            candidates = [folder / name / f"{stem}.png"]
            if len(regions) == 1:
                candidates.append(folder / f"{stem}.png")
            for path in candidates:
                if path.exists():
                    files[name] = path
    return files


def check_masks(photos: Photos, folders: Sequence[Path], names: Sequence[str], *, all_needed: bool) -> None:
    """Checks that every photo has masks, and that no two photos share them.

    Args:
      photos: the photos.
      folders: of masks; empty if the segmenter computes them.
      names: the regions.
      all_needed: a photo without a mask is an error.

    Raises:
      UserError: no such folder, photos that share a name, a photo without a mask, or pictures that are no masks.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"masks {folder} is not a folder; give a folder of masks named like the photos")
    if not foreground(names):
        return
    counts = Counter(photos.name(index) for index in range(len(photos)))
    duplicates = [name for name, count in counts.items() if count > 1]
    if duplicates:
        raise UserError(
            f"{len(duplicates)} names belong to more than one photo (the first: {duplicates[0]}), so that their masks "
            "are ambiguous; rename the photos"
        )
    missing = photos_without_mask(photos, folders, names, 1) if folders and all_needed else []
    if missing:
        raise UserError(
            f"{len(missing)} of {len(photos)} photos have no mask in {', '.join(map(str, folders))} (the first: "
            f"{photos.name(missing[0])}); add the masks, or set how such photos are used with "
            "--config.without_mask=background or, for the fast model, random"
        )
    mask_reader(photos, folders, names)


def mask_reader(
    photos: Photos, folders: Sequence[Path], names: Sequence[str], *, quiet: bool = False
) -> Callable[[Path], Image.Image]:
    """A reader of the photos' mask files, see `mask_series`; it looks at those of some photos."""
    some = range(0, len(photos), max(1, len(photos) // SAMPLED_PHOTOS))
    found = (mask_files(folders, names, photos.name(index)) for index in some)
    files = [file for masks in found for file in masks.values()]
    return mask_series(files, f"masks {', '.join(map(str, folders))}", quiet=quiet)


def photos_without_mask(photos: Photos, folders: Sequence[Path], names: Sequence[str], minimum: int) -> list[int]:
    """Indices of the photos that have fewer than `minimum` mask files."""
    return [i for i in range(len(photos)) if len(mask_files(folders, names, photos.name(i))) < minimum]


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
    if folder and not photos_without_mask(photos, [folder], names, len(regions)):
        return None
    return load_segmenter(name, regions, instead="--masks DIR")


def generate_masks(
    segmenter: AnySegmenter, photos: Photos, folder: Path, names: Sequence[str], *, refine: bool, quiet: bool
) -> None:
    """Segments this host's share of the photos without masks; writes FOLDER/REGION/NAME.png.

    Args:
      segmenter: the network.
      photos: the photos; damaged ones get no mask.
      folder: of the masks.
      names: the regions.
      refine: see `class_probabilities`.
      quiet: no progress bar.

    Raises:
      UserError: the disk is full, or the file system refuses.
    """
    regions = foreground(names)
    pending = photos_without_mask(photos, [folder], names, len(regions))
    own = [index for index in pending if index % jax.process_count() == jax.process_index()]
    for index in tqdm(own, desc="masks", unit="photo", disable=quiet or None):
        try:
            photo = photos.read(index)
        except UserError:
            continue  # the input pipeline logs it
        try:
            probabilities = class_probabilities(segmenter, photo, refine=refine)
        except UserError as error:
            raise UserError(f"photo {photos.name(index)}: {error}") from error
        masks = region_masks(probabilities, regions, segmenter.classes, min_speck=MIN_SPECK, must_exist=False)
        for name in regions:
            gray = to_picture(np.repeat(masks[name][..., None], 3, -1)).convert("L")
            save_picture(gray, folder / name / f"{photos.name(index)}.png")
