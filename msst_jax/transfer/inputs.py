"""From file names to the arrays that the optimisation starts from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import load_image, read_picture
from msst_jax.models.vgg import deepest_tap, tap_names
from msst_jax.regions import masks as regions
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.segmenter import Segmenter, load_segmenter
from msst_jax.regions.selection import region_classes, region_masks


class Region(NamedTuple):
    """A region and the style it takes."""

    name: str
    style_file: str
    style: np.ndarray
    """(h, w, 3) in [0, 1]."""
    origin: str = "mask"
    """Where it comes from: "mask", "segmenter", or "rest", what no other region claims."""


class PhotoInputs(NamedTuple):
    """A photo cut into K regions."""

    photo: np.ndarray
    """(H, W, 3) in [0, 1]."""
    masks: np.ndarray
    """(H, W, K), sum 1 at every pixel."""
    regions: tuple[Region, ...]
    segmenter: dict[str, str] | None = None
    """Name and weights file of the network that found regions; None if there was none to find."""


def load_photo_inputs(
    config: ConfigDict,
    photo: str,
    styles: Mapping[str, str],
    masks: Mapping[str, str],
    *,
    segmenter: Segmenter | None = None,
) -> PhotoInputs:
    """Reads the photo, its masks and the styles at the size that the config asks for.

    Regions without a mask, except the background, are found by the segmenter; a mask comes before
    what the segmenter finds.

    Args:
      config: see configs/photo.py (size, square, style_scale, hard_masks, feather, segmenter, min_speck,
        refine_edges).
      photo: file of the photo.
      styles: {region: file of its style}.
      masks: {region: file of its mask}.
      segmenter: the network to use; None loads `config.segmenter`, and only if a region needs it.

    Raises:
      UserError: anything wrong with the files, or regions and styles that do not match.
    """
    if not styles:
        raise UserError("no style was given; add --style NAME=FILE, for example --style background=painting.jpg")
    for name in masks:
        if name not in styles:
            raise UserError(f"region {name!r} has a mask but no style; add --style {name}=FILE or drop its --mask")
    missing = [name for name in styles if name not in masks and name != regions.BACKGROUND]
    region_classes(missing)
    picture = read_picture(photo, "photo")
    content = load_image(photo, config.size, square=config.square, what="photo", picture=picture)
    height, width = content.shape[:2]
    found = {name: regions.read_mask(file, picture.size, (width, height)) for name, file in masks.items()}
    loaded = load_styles(config, styles, masks, (width, height))
    used = None
    if missing:  # all that a person may have mistyped is checked: this takes long
        segmenter = segmenter or load_segmenter(config.segmenter, missing)
        found |= find_masks(config, segmenter, picture, missing, found, (width, height))
        used = segmenter.record()
    stacked = regions.combine(found or {regions.BACKGROUND: np.ones((height, width), np.float32)}, list(styles))
    if config.hard_masks:
        stacked = regions.to_one_hot(stacked)
        regions.check_coverage(stacked, list(styles))
    stacked = regions.feather(stacked, config.feather / 100 * max(height, width))
    return PhotoInputs(content, stacked, tuple(loaded), used)


def region_origin(name: str, masks: Iterable[str]) -> str:
    """Where a region comes from, see `Region`; `masks` names those whose masks were given."""
    return "mask" if name in masks else "rest" if name == regions.BACKGROUND else "segmenter"


def load_styles(
    config: ConfigDict, styles: Mapping[str, str], masks: Iterable[str], size: tuple[int, int]
) -> list[Region]:
    """The regions with their style pictures, for a photo of a (width, height).

    Args:
      config: style_scale, square, and what says how deep the losses look.
      styles: {region: file}.
      masks: the regions whose masks were given.
      size: of the photo.

    Raises:
      UserError: a file that cannot be read, or a side too short for the losses.
    """
    style_size = round(max(size) * config.style_scale)
    loaded = [
        Region(
            name,
            file,
            load_image(file, style_size, square=config.square, what="style"),
            region_origin(name, masks),
        )
        for name, file in styles.items()
    ]
    _check_smallest_scale(config, [size, *(region.style.shape[:2] for region in loaded)])
    return loaded


def find_masks(
    config: ConfigDict,
    segmenter: Segmenter,
    picture: Image.Image,
    names: list[str],
    masks: Mapping[str, np.ndarray],
    size: tuple[int, int],
    *,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """Masks {name: (H, W)} of what the segmenter finds where no mask of a person's lies.

    Args:
      config: hard_masks, min_speck and refine_edges of configs/photo.py.
      segmenter: the network.
      picture: the photo, as large as it is.
      names: the regions to find.
      masks: {name: (H, W)} of the other regions.
      size: (width, height) of the masks.
      must_exist: see `segmentation.region_masks`.

    Raises:
      UserError: as `segmentation.region_masks`.
    """
    probabilities = class_probabilities(segmenter, picture, size, refine=config.refine_edges)
    claimed = np.clip(sum(masks.values()), 0, 1) if masks else None
    if claimed is not None and config.hard_masks:  # a pixel that goes to a mask in the end is lost here already
        claimed = (claimed >= 0.5).astype(np.float32)
    return region_masks(
        probabilities,
        names,
        claimed=claimed,
        min_speck=config.min_speck,
        hard=config.hard_masks,
        must_exist=must_exist,
    )


def _check_smallest_scale(config: ConfigDict, sizes: Iterable[tuple[int, ...]]) -> None:
    """Every picture must keep a pixel at the deepest layer, also where it is smallest."""
    taps = tap_names(config.network, deepest_tap(config.network, [*config.style_layers, *config.content_layers]))
    needed = 2 ** sum(tap.startswith("pool") for tap in taps)
    side = min(map(min, sizes))
    if round(side * min(config.scales)) < needed:
        raise UserError(
            f"a side of {side} pixels becomes {round(side * min(config.scales))} at the scale {min(config.scales)}; "
            f"{taps[-1]} of {config.network} needs {needed}: raise config.size or config.scales"
        )
