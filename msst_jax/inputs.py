"""From file names to the arrays that the optimisation starts from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from msst_jax import images, regions
from msst_jax.errors import UserError
from msst_jax.models.vgg import deepest_tap, tap_names


class Region(NamedTuple):
    """A region and the style it takes."""

    name: str
    style_file: str
    style: np.ndarray
    """(h, w, 3) in [0, 1]."""


class Inputs(NamedTuple):
    """A photo cut into K regions."""

    photo: np.ndarray
    """(H, W, 3) in [0, 1]."""
    masks: np.ndarray
    """(H, W, K), sum 1 at every pixel."""
    regions: tuple[Region, ...]


def parse_pairs(pairs: Iterable[str], flag: str) -> dict[str, str]:
    """["person=a.jpg", ...] to {"person": "a.jpg", ...}.

    Raises:
      UserError: not NAME=FILE, or a region named twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise UserError(f"--{flag} {pair!r} is not NAME=FILE; write for example --{flag} person=FILE")
        if name in found:
            raise UserError(f"--{flag} names the region {name!r} twice ({found[name]} and {file}); leave one out")
        found[name] = file
    return found


def load_inputs(config: ConfigDict, photo: str, styles: Mapping[str, str], masks: Mapping[str, str]) -> Inputs:
    """Reads the photo, its masks and the styles at the size that the config asks for.

    Args:
      config: see configs/photo.py (size, square, style_scale, hard_masks, feather).
      photo: file of the photo.
      styles: {region: file of its style}.
      masks: {region: file of its mask}.

    Raises:
      UserError: anything wrong with the files, or regions and styles that do not match.
    """
    if not styles:
        raise UserError("no style was given; add --style NAME=FILE, for example --style background=painting.jpg")
    for name in masks:
        if name not in styles:
            raise UserError(f"region {name!r} has a mask but no style; add --style {name}=FILE or drop its --mask")
    picture = images.read_picture(photo, "photo")
    content = images.load_image(photo, config.size, square=config.square, what="photo")
    height, width = content.shape[:2]
    found = {name: regions.read_mask(file, picture.size, (width, height)) for name, file in masks.items()}
    stacked = regions.combine(found or {regions.BACKGROUND: np.ones((height, width), np.float32)}, list(styles))
    if config.hard_masks:
        stacked = regions.harden(stacked)
        regions.check_shares(stacked, list(styles))
    stacked = regions.feather(stacked, config.feather / 100 * max(height, width))
    style_size = round(max(height, width) * config.style_scale)
    loaded = tuple(
        Region(name, file, images.load_image(file, style_size, square=config.square, what="style"))
        for name, file in styles.items()
    )
    _check_smallest_scale(config, [content, *(region.style for region in loaded)])
    return Inputs(content, stacked, loaded)


def _check_smallest_scale(config: ConfigDict, pictures: Iterable[np.ndarray]) -> None:
    """Every picture must keep a pixel at the deepest layer, also where it is smallest."""
    taps = tap_names(config.network, deepest_tap(config.network, [*config.style_layers, *config.content_layers]))
    needed = 2 ** sum(tap.startswith("pool") for tap in taps)
    side = min(min(picture.shape[:2]) for picture in pictures)
    if round(side * min(config.scales)) < needed:
        raise UserError(
            f"a side of {side} pixels becomes {round(side * min(config.scales))} at the scale {min(config.scales)}; "
            f"{taps[-1]} of {config.network} needs {needed}: raise config.size or config.scales"
        )
