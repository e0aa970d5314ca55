"""Augmentation: random crops, flips and color jitter of photos with their masks; center crops for evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from msst_jax.regions.masks import compose_masks, foreground
from msst_jax.training.data.mask_bytes import to_bytes

GRAY = 118  # of 255, the mean of photographs: about 0 after `ops.image.normalize`


class CropOptions(NamedTuple):
    """How training examples are cropped from photos."""

    size: int
    """Side of the example in pixels."""
    smallest: float
    """Minimum side of the crop, as a fraction of the photo's shorter side."""
    largest: float = 1.0
    """Maximum side of the crop; above 1 it is padded beyond the photo, with gray and with masks that are all 0."""
    colour: float = 0.0
    """Maximum relative change of brightness, contrast and saturation; 0 = no color jitter."""
    random_regions: bool = True
    """A photo without any mask gets random regions; else it is all background."""


def random_crop(example: Mapping[str, Any], rng: np.random.Generator, crop: CropOptions, names: Sequence[str]) -> dict:
    """A random square crop, randomly flipped: {"photo": uint8 (S, S, 3), "masks": uint8 (S, S, K)}.

    The masks' sum is 255, and in the padding beyond the photo 0; see `to_bytes`.
    """
    photo = example["photo"]
    side = round(rng.uniform(crop.smallest, crop.largest) * min(photo.size))
    left, top = (_random_offset(length - side, rng) for length in photo.size)
    flip = rng.random() < 0.5
    masks = _masks(example, rng, crop.random_regions, names)
    if crop.colour:
        photo = _jitter_color(photo, rng, crop.colour)
    return _extract(photo, masks, (left, top, left + side, top + side), crop.size, flip, names)


def _random_offset(margin: int, rng: np.random.Generator) -> int:
    """The offset of a crop: anywhere within the photo or, if the crop is larger (margin < 0), around it."""
    return int(rng.integers(min(margin, 0), max(margin, 0) + 1))


def _jitter_color(photo: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    for enhancement in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = enhancement(photo).enhance(rng.uniform(1 - strength, 1 + strength))
    return photo


def _masks(
    example: Mapping[str, Any], rng: np.random.Generator, random_regions: bool, names: Sequence[str]
) -> Mapping[str, Image.Image]:
    return example["masks"] or (random_masks(example["photo"].size, names, rng) if random_regions else {})


def center_crop(example: Mapping[str, Any], crop: CropOptions, names: Sequence[str]) -> dict:
    """The largest centered square of a photo, in the format of `random_crop`; deterministic."""
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
    flip: bool,
    names: Sequence[str],
) -> dict:
    """The example in a box (left, top, right, bottom), resized to `size`; see `random_crop`."""
    padded = box[0] < 0 or box[1] < 0 or box[2] > photo.width or box[3] > photo.height

    def crop(picture: Image.Image, padding: int = 0) -> np.ndarray:
        resize_box = box
        if padded:
            picture, resize_box = _crop_padded(picture, box, padding), (0, 0, box[2] - box[0], box[3] - box[1])
        values = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=resize_box))
        return values[:, ::-1] if flip else values

    def crop_mask(mask: Image.Image) -> np.ndarray:
        return crop(mask).astype(np.float32) / np.float32(255)

    cropped = {name: crop_mask(mask) for name, mask in masks.items()}
    stacked = compose_masks(cropped, names, strict=False, shape=(size, size))
    if padded:
        stacked = stacked * (crop_mask(Image.new("L", photo.size, 255)) > 0.5)[..., None]
    return {"photo": np.ascontiguousarray(crop(photo, GRAY)), "masks": to_bytes(stacked)}


def _crop_padded(picture: Image.Image, box: tuple[int, int, int, int], padding: int) -> Image.Image:
    """The part of an image in a box, padded with a gray level where the box reaches beyond it."""
    canvas = Image.new(picture.mode, (box[2] - box[0], box[3] - box[1]), (padding,) * len(picture.getbands()))
    canvas.paste(picture, (-box[0], -box[1]))
    return canvas


def random_masks(size: tuple[int, int], names: Sequence[str], rng: np.random.Generator) -> dict[str, Image.Image]:
    """A random ellipse for every region but the background."""
    masks = {}
    for name in foreground(names):
        masks[name] = Image.new("L", size)
        center, radius = (rng.uniform(low, high, 2) * size for low, high in ((0.2, 0.8), (0.15, 0.5)))
        ImageDraw.Draw(masks[name]).ellipse([*(center - radius), *(center + radius)], fill=255)
    return masks
