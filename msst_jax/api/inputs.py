"""From what a caller gives to the inputs of an optimization."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from msst_jax.api.masks import take_masks
from msst_jax.api.pictures import Picture, Size
from msst_jax.api.points import take_points
from msst_jax.api.styles import WeightedPicture, check_regions
from msst_jax.errors import UserError
from msst_jax.io.images import fit_size
from msst_jax.regions.masks import MaskSpec
from msst_jax.regions.segmenter import AnySegmenter, segmenter_classes
from msst_jax.transfer.inputs import (
    Painting,
    PhotoInputs,
    Region,
    check_smallest_scale,
    partition_photo,
    style_side,
)
from msst_jax.transfer.options import InputOptions, StylizationOptions
from msst_jax.transfer.photo import Photo


def chosen_size(size: int | None, preset: int, photo: Size) -> int:
    """The longest side in pixels, 0 = as it is: that of the caller, else that of the preset, which enlarges nothing."""
    if size is not None:
        return size
    return preset if preset < max(photo) else 0


def photo_inputs(
    options: StylizationOptions,
    photo: Picture,
    styles: Mapping[str, tuple[WeightedPicture, ...]],
    masks: Any,
    points: Any = None,
    *,
    start: Picture | None = None,
    segmenter: AnySegmenter | None = None,
) -> PhotoInputs:
    """The inputs of a photo; regions without a mask are segmented.

    Args:
      options: sizes and masks.
      photo: see `take_picture`.
      styles: see `take_styles`.
      masks: as the caller gave them; see `take_masks`.
      points: likewise; see `take_points`.
      start: the first pixels; None = as the options say.
      segmenter: the network; None = that of the options.

    Raises:
      UserError: anything wrong with the masks, sizes that are too small, or a region that cannot be segmented.
    """
    size = _fit(photo, options.inputs)
    given = take_masks(masks, styles, photo.size, size)
    classes = segmenter.classes if segmenter else segmenter_classes(options.inputs.segmenter)
    check_regions([*styles], [*given], classes)
    spec = MaskSpec(tuple(styles), tuple(given), options.inputs.masks, take_points(points, styles, given))
    regions = [
        Region(name, tuple(_painting(options.inputs, each, size) for each in mix), spec.origin(name))
        for name, mix in styles.items()
    ]
    paintings = [painting.image.shape[:2] for region in regions for painting in region.paintings]
    check_smallest_scale(options, [size, *paintings])
    taken = Photo(photo.image, photo.at(size), None)
    first = None if start is None else start.at(size)
    return partition_photo(options.inputs, spec, taken, given, regions, segmenter=segmenter, start=first)


def masks_by_name(inputs: PhotoInputs) -> dict[str, np.ndarray]:
    """{region: its mask (H, W)}."""
    return {name: inputs.masks[..., index] for index, name in enumerate(inputs.names)}


def _fit(photo: Picture, options: InputOptions) -> Size:
    try:
        return fit_size(*photo.size, options.size, options.square)
    except UserError as error:
        raise UserError(f"{photo.name}: {error}") from None


def _painting(options: InputOptions, style: WeightedPicture, size: Size) -> Painting:
    """A painting for a photo of a (width, height)."""
    image = style.picture.fitted(style_side(options, size), square=options.square)
    return Painting(image, style.weight, style.file or style.picture.name)
