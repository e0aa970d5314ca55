"""Segments one photo, array to arrays."""

import os

import numpy as np

from msst_jax.api.pictures import PictureLike, given_path, take_picture
from msst_jax.api.wording import in_callers_words
from msst_jax.errors import UserError, nearest_or_all
from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.presets.validation import check_number
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import BACKGROUND, MaskOptions
from msst_jax.regions.own_segmenter import OwnSegmenter
from msst_jax.regions.segmenter import AnySegmenter, Segmenter, load_segmenter
from msst_jax.regions.selection import find_classes
from msst_jax.registry import SEGMENTERS as REGISTERED

SegmenterLike = str | os.PathLike[str] | AnySegmenter | None


def segment(
    photo: PictureLike,
    segmenter: SegmenterLike = None,
    *,
    hard: bool = False,
    min_speck: float = 0.3,
    refine_edges: bool = True,
) -> dict[str, np.ndarray]:
    """What is in a photo, and where.

    Args:
      photo: an array (H, W, 3), uint8 in 0 to 255 or floats in [0, 1]; a Pillow picture; or a path.
      segmenter: name of a network ("person_vgg16", "deeplabv3_resnet101", ..., or a registered one), a workdir of
        train.py, a weights file, or what `msst_jax.regions.segmenter.load_segmenter` returns; None = the best one that
        has weights here.
      hard: masks of 0 and 1 in place of probabilities.
      min_speck: percent of the photo; smaller components, and holes, are removed.
      refine_edges: snap the edges to those of the photo.

    Returns:
      {class: float32 (H, W) in [0, 1]} of the classes that are the likeliest somewhere, the largest first, and then
      "background", what none of them claims: together they sum to 1 at every pixel.

    Raises:
      UserError: (a ValueError) a photo or a segmenter that cannot be used.
    """
    with in_callers_words():
        picture = take_picture(photo, "photo")
        check_number("min_speck", min_speck)
        if min_speck > 100:
            raise UserError(f"min_speck is {min_speck} percent of the photo; use at most 100")
        for name, value in {"hard": hard, "refine_edges": refine_edges}.items():
            if not isinstance(value, bool | np.bool_):
                raise UserError(f"{name} is {value!r}; give True or False")
        network = take_segmenter(segmenter)
        options = MaskOptions(hard=hard, min_speck=min_speck, refine_edges=refine_edges)
        probabilities = class_probabilities(network, picture.image, refine=options.refine_edges)
        masks = find_classes(options, probabilities, network.classes).masks
    rest = 1 - sum(masks.values(), np.zeros(picture.size[::-1], np.float32))
    return {**masks, BACKGROUND: np.clip(rest, 0, 1).astype(np.float32)}


def take_segmenter(segmenter: SegmenterLike) -> AnySegmenter:
    """The network that an argument `segmenter` names; UserError if there is none."""
    if isinstance(segmenter, Segmenter | OwnSegmenter):
        return segmenter
    if segmenter is None:
        return load_segmenter("")
    if not isinstance(segmenter, str | os.PathLike):
        raise UserError(f"segmenter is of the type {type(segmenter).__name__}; give a name or a path")
    name = os.fspath(segmenter)
    names = (*SEGMENTERS, *REGISTERED.names)
    if name not in names and not given_path(name, "segmenter").exists():
        raise UserError(f"segmenter {name!r} is neither a network nor a file; {nearest_or_all(name, names)}")
    return load_segmenter(name)
