"""The masks of training photos: those that a person gives, or those that a segmenter makes once, in the workdir."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.images import save_picture, to_picture
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import BACKGROUND
from msst_jax.regions.segmenter import Segmenter, load_segmenter
from msst_jax.regions.selection import region_classes, region_masks
from msst_jax.training.data.photos import Photos

MIN_SPECK = 0.3  # percent of the photo: smaller pieces of what the segmenter finds are dropped


def mask_files(folders: Sequence[Path], names: Sequence[str], stem: str) -> dict[str, Path]:
    """{region: file} of a photo's masks: FOLDER/REGION/STEM.png, or FOLDER/STEM.png for the only region to find."""
    wanted = _foreground(names)
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


def _foreground(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != BACKGROUND]


def check_masks(photos: Photos, folders: Sequence[Path], names: Sequence[str], *, all_needed: bool) -> None:
    """Checks that every photo has its masks, and its own.

    Args:
      photos: the photos.
      folders: of masks; empty if the segmenter makes them.
      names: the regions.
      all_needed: a photo without a mask is an error.

    Raises:
      UserError: no such folder, photos that share a name, or a photo without a mask.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"masks {folder} is no folder; give a folder of masks named like the photos")
    if not _foreground(names):
        return
    counts = Counter(photos.name(index) for index in range(len(photos)))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} names belong to more than one photo (the first: {twice[0]}), so that their masks cannot be "
            "told apart; rename the photos"
        )
    missing = photos_without_mask(photos, folders, names, 1) if folders and all_needed else []
    if missing:
        raise UserError(
            f"{len(missing)} of {len(photos)} photos have no mask in {', '.join(map(str, folders))} (the first: "
            f"{photos.name(missing[0])}); add the masks, or say what such photos are with "
            "--config.without_mask=background or, for the fast model, random"
        )


def photos_without_mask(photos: Photos, folders: Sequence[Path], names: Sequence[str], least: int) -> list[int]:
    """Photos that have fewer than `least` mask files."""
    return [i for i in range(len(photos)) if len(mask_files(folders, names, photos.name(i))) < least]


def load_segmenter_if_needed(name: str, photos: Photos, folder: Path | None, names: Sequence[str]) -> Segmenter | None:
    """The segmenter, if it has masks to make.

    Args:
      name: see `load_segmenter`.
      photos: the photos.
      folder: where masks that it made before lie; None if there cannot be any.
      names: the regions.

    Raises:
      UserError: a region or a segmenter that cannot be had.
    """
    wanted = _foreground(names)
    if not wanted:
        return None
    region_classes(wanted)
    if folder and not photos_without_mask(photos, [folder], names, len(wanted)):
        return None
    return load_segmenter(name, wanted, instead="--masks DIR")


def generate_masks(
    segmenter: Segmenter, photos: Photos, folder: Path, names: Sequence[str], *, refine: bool, quiet: bool
) -> None:
    """Writes FOLDER/REGION/NAME.png of this host's share of the photos that lack them.

    Args:
      segmenter: the network.
      photos: the photos; damaged ones get no mask.
      folder: of the masks.
      names: the regions.
      refine: see `class_probabilities`.
      quiet: no progress bar.

    Raises:
      UserError: the disk is full, or refuses.
    """
    wanted = _foreground(names)
    todo = photos_without_mask(photos, [folder], names, len(wanted))
    mine = [index for index in todo if index % jax.process_count() == jax.process_index()]
    for index in tqdm(mine, desc="masks", unit="photo", disable=quiet or None):
        try:
            photo = photos.read(index)
        except UserError:
            continue  # training names it
        try:
            probabilities = class_probabilities(segmenter, photo, refine=refine)
        except UserError as error:
            raise UserError(f"photo {photos.name(index)}: {error}") from error
        found = region_masks(probabilities, wanted, min_speck=MIN_SPECK, must_exist=False)
        for name in wanted:
            grey = to_picture(np.repeat(found[name][..., None], 3, -1)).convert("L")
            save_picture(grey, folder / name / f"{photos.name(index)}.png")
