"""Pieces of photos with their masks: what a network is trained on, and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from msst_jax.regions.masks import BACKGROUND, complete

GRAY = 118  # of 255, the mean of photographs: after `images.normalize` about 0


class CropOptions(NamedTuple):
    """How a photo becomes an example."""

    size: int
    """Side in pixels."""
    smallest: float
    """Side of the crop at least, as a share of the photo's shorter side."""
    largest: float = 1.0
    """Side of the crop at most; above 1 it reaches beyond the photo, where all masks are 0 and the photo is grey."""
    colour: float = 0.0
    """Brightness, contrast and saturation change by up to this share; 0 leaves the colours alone."""
    random_regions: bool = True
    """A photo without any mask gets random regions; else it is all background."""


def random_crop(example: Mapping[str, Any], rng: np.random.Generator, crop: CropOptions, names: Sequence[str]) -> dict:
    """A square piece, mirrored or not: {"photo": uint8 (S, S, 3), "masks": float32 (S, S, K) of sum 1}.

    Beyond the photo the masks' sum is 0.
    """
    photo = example["photo"]
    side = round(rng.uniform(crop.smallest, crop.largest) * min(photo.size))
    left, top = (_offset(length - side, rng) for length in photo.size)
    mirrored = rng.random() < 0.5
    masks = _masks(example, rng, crop.random_regions, names)
    if crop.colour:
        photo = _jitter_color(photo, rng, crop.colour)
    return _extract(photo, masks, (left, top, left + side, top + side), crop.size, mirrored, names)


def _offset(room: int, rng: np.random.Generator) -> int:
    """Where a crop begins: anywhere within the photo or, where it is the longer one (room < 0), around it."""
    return int(rng.integers(min(room, 0), max(room, 0) + 1))


def _jitter_color(photo: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = kind(photo).enhance(rng.uniform(1 - share, 1 + share))
    return photo


def _masks(
    example: Mapping[str, Any], rng: np.random.Generator, random_regions: bool, names: Sequence[str]
) -> Mapping[str, Image.Image]:
    return example["masks"] or (random_masks(example["photo"].size, names, rng) if random_regions else {})


def center_crop(example: Mapping[str, Any], crop: CropOptions, names: Sequence[str]) -> dict:
    """The largest square in the middle of a photo; see `random_crop`. Always the same."""
    photo = example["photo"]
    side = min(photo.size)
    left, top = ((length - side) // 2 for length in photo.size)
    masks = _masks(example, np.random.default_rng(0), crop.random_regions, names)
    return _extract(photo, masks, (left, top, left + side, top + side), crop.size, False, names)


def _extract(
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
    return {"photo": np.ascontiguousarray(piece(photo, GRAY)), "masks": whole}


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
