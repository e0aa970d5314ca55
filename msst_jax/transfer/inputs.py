"""Files in, arrays out: a photo, the masks of its regions and the style image of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.array_checks import check_image, check_partition
from msst_jax.io.images import load_image, read_picture
from msst_jax.models.vgg import deepest_tap, tap_names
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.mask_files import read_mask
from msst_jax.regions.masks import MaskSpec, compose_masks
from msst_jax.regions.points import Point, check_points, scale_points
from msst_jax.regions.region_names import region_parts
from msst_jax.regions.segmenter import AnySegmenter, Size, load_segmenter, segmenter_classes
from msst_jax.regions.selection import select_regions
from msst_jax.transfer.kept import check_kept
from msst_jax.transfer.options import InputOptions, StylizationOptions
from msst_jax.transfer.photo import Photo, load_photo, load_start, log_enlargement
from msst_jax.transfer.photo_colors import check_color_regions
from msst_jax.transfer.style_mix import WeightedFile, format_style_mix, parse_style_mix, shares

NO_STYLE = np.empty((0, 0, 3), np.float32)


class Painting(NamedTuple):
    """A painting that a region takes its style from."""

    image: np.ndarray
    """(h, w, 3) in [0, 1]; NO_STYLE where a model has learned it."""
    weight: float = 1.0
    """Above zero; only its ratio to those of the region's other paintings counts."""
    file: str = ""


class Region(NamedTuple):
    """A region and the style it takes."""

    name: str
    paintings: tuple[Painting, ...]
    """None if the region is left the photo."""
    origin: str = "mask"
    """Where its mask comes from, see `MaskSpec.origin`."""

    @property
    def style(self) -> str:
        """As `parse_style_mix` reads it."""
        return format_style_mix(tuple(WeightedFile(painting.file, painting.weight) for painting in self.paintings))

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the paintings in the style; they sum to 1."""
        return shares([painting.weight for painting in self.paintings])


class PhotoInputs(NamedTuple):
    """A photo partitioned into K regions."""

    photo: np.ndarray
    """(H, W, 3) in [0, 1]."""
    masks: np.ndarray
    """(H, W, K), sum 1 at every pixel."""
    regions: tuple[Region, ...]
    segmenter: dict[str, str] | None = None
    """Name and weights file of the network that segmented the photo; None if every mask was given."""
    start: np.ndarray | None = None
    """(H, W, 3) in [0, 1]: the first pixels of the optimization; None = as the options say."""
    alpha: np.ndarray | None = None
    """The photo's opacity (H, W), uint8, 255 = opaque, which the picture is to have; None = opaque."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the regions."""
        return tuple(region.name for region in self.regions)

    @property
    def styled(self) -> tuple[int, ...]:
        """The indices of the regions that have a style."""
        return tuple(index for index, region in enumerate(self.regions) if region.paintings)

    @property
    def kept(self) -> tuple[int, ...]:
        """The indices of the regions that are left the photo."""
        return tuple(index for index, region in enumerate(self.regions) if not region.paintings)


def load_photo_inputs(
    options: StylizationOptions,
    photo: str,
    styles: Mapping[str, str],
    masks: Mapping[str, str],
    *,
    points: Sequence[Point] = (),
    segmenter: AnySegmenter | None = None,
    styled: Callable[[Size], Sequence[Region]] | None = None,
    keep_alpha: bool = False,
) -> PhotoInputs:
    """Reads the photo, its masks and the styles at the size that the options ask for.

    Regions without a mask, except the background, are segmented; a given mask takes precedence over the segmenter.

    Args:
      options: the inputs, and how deep the losses look.
      photo: file of the photo.
      styles: {region: file of its painting, several with weights, or KEEP}; see `parse_style_mix`.
      masks: {region: file of its mask}.
      points: of regions of which only the component there is taken.
      segmenter: the network to use; None loads that of the options, and only if a region needs it.
      styled: gives the regions at the (width, height) of the photo; None reads them, see `load_styles`.
      keep_alpha: see `load_photo`.

    Raises:
      UserError: anything wrong with the files, or regions and styles that do not match.
    """
    spec = mask_spec(options, styles, masks, points, segmenter.classes if segmenter else None)
    loaded = load_photo(options.inputs, photo, keep_alpha=keep_alpha)
    size, own_size = (loaded.pixels.shape[1], loaded.pixels.shape[0]), loaded.picture.size
    first = options.inputs.start
    start = load_start(first, own_size, size, keep_alpha=loaded.alpha is not None) if first else None
    given = {name: read_mask(file, own_size, size) for name, file in masks.items()}
    regions = styled(size) if styled else load_styles(options, styles, spec, size)
    inputs = partition_photo(options.inputs, spec, loaded, given, regions, segmenter=segmenter, start=start)
    log_enlargement(photo, own_size, size)
    return inputs


def partition_photo(
    options: InputOptions,
    spec: MaskSpec,
    photo: Photo,
    given: Mapping[str, np.ndarray],
    regions: Sequence[Region],
    *,
    segmenter: AnySegmenter | None = None,
    start: np.ndarray | None = None,
) -> PhotoInputs:
    """A photo with the masks of its regions: the given ones, and those of the segmenter.

    Args:
      options: name the segmenter.
      spec: where the masks come from.
      photo: as it was read.
      given: {region: (H, W) in [0, 1]}, the masks of `spec.given`.
      regions: with their paintings, in the order of the specification.
      segmenter: as in `load_photo_inputs`.
      start: see `PhotoInputs`.

    Raises:
      UserError: as `load_segmenter` and `photo_masks`.
    """
    size = (photo.pixels.shape[1], photo.pixels.shape[0])
    scale_points(spec.points, photo.picture.size, size)
    if spec.missing and segmenter is None:  # only now that everything the user may have mistyped is checked: it is slow
        segmenter = load_segmenter(options.segmenter, spec.missing)
    used = segmenter if spec.missing else None
    masks = photo_masks(spec, given, used, photo.picture, size)
    return PhotoInputs(photo.pixels, masks, tuple(regions), used.record() if used else None, start, photo.alpha)


def check_photo_inputs(inputs: PhotoInputs) -> None:
    """Raises UserError for arrays of another dtype, range or shape than `PhotoInputs` says: they would give a picture.

    A photo in 0 to 255 gives one that is nearly white, masks in 0 to 255 give pixels of 255.
    """
    check_image(inputs.photo, "photo")
    check_partition(inputs.masks, inputs.photo.shape[:2], len(inputs.regions), "masks")
    for region in inputs.regions:
        for painting in region.paintings:
            check_image(painting.image, f"the style of region {region.name!r}")


def mask_spec(
    options: StylizationOptions,
    styles: Mapping[str, str],
    masks: Mapping[str, str],
    points: Sequence[Point] = (),
    classes: Sequence[str] | None = None,
) -> MaskSpec:
    """Where the masks of the regions come from.

    Args:
      options: as in `load_photo_inputs`.
      styles: likewise.
      masks: likewise.
      points: likewise.
      classes: of the segmenter; None for those of the options' segmenter.

    Raises:
      UserError: no styles, a mask or a point of a region without one, or a region that no network knows.
    """
    if not styles:
        raise UserError("no style was given; add --style NAME=FILE, for example --style background=painting.jpg")
    for name in masks:
        if name not in styles:
            raise UserError(f"region {name!r} has a mask but no style; add --style {name}=FILE or drop its --mask")
    check_points(points, styles, masks)
    spec = MaskSpec(tuple(styles), tuple(masks), options.inputs.masks, tuple(points))
    region_parts(spec.missing, classes or segmenter_classes(options.inputs.segmenter))
    return spec


def check_styles(options: StylizationOptions, styles: Mapping[str, str]) -> None:
    """Raises UserError for styles {region: its paintings, or KEEP} that do not go with the options."""
    check_kept(styles, guided=options.guided)
    check_color_regions(options.keep_colours, styles)


def load_styles(options: StylizationOptions, styles: Mapping[str, str], spec: MaskSpec, size: Size) -> list[Region]:
    """The regions with their paintings, for a photo of a (width, height).

    Args:
      options: the inputs, and how deep the losses look.
      styles: {region: its paintings, or KEEP}; see `parse_style_mix`.
      spec: where the masks come from.
      size: of the photo.

    Raises:
      UserError: as `check_styles` and `parse_style_mix`; a file that cannot be read, a side too short for the losses.
    """
    check_styles(options, styles)
    mixes = {name: parse_style_mix(text, f"style of {name}") for name, text in styles.items()}
    regions = [
        Region(name, tuple(_load_painting(options.inputs, each, size) for each in mix), spec.origin(name))
        for name, mix in mixes.items()
    ]
    loaded = [painting.image.shape[:2] for region in regions for painting in region.paintings]
    check_smallest_scale(options, [size, *loaded])
    return regions


def _load_painting(options: InputOptions, painting: WeightedFile, size: Size) -> Painting:
    """A painting for a photo of a (width, height)."""
    return Painting(_load_style(options, painting.file, size), painting.weight, painting.file)


def style_side(options: InputOptions, size: Size) -> int:
    """The longest side of the style images for a photo of a (width, height)."""
    return round(max(size) * options.style_scale * options.stroke_size)


def _load_style(options: InputOptions, file: str, size: Size) -> np.ndarray:
    """A style image (h, w, 3) in [0, 1] for a photo of a (width, height)."""
    picture = read_picture(file, "style")
    side = style_side(options, size)
    style = load_image(file, side, square=options.square, what="style", picture=picture)
    if max(picture.size) < side and options.stroke_size > 1:
        logging.info(
            "style %s of %dx%d pixels is enlarged to %dx%d, which blurs its strokes; give a larger picture",
            *(file, *picture.size, *style.shape[1::-1]),
        )
    return style


def photo_masks(
    spec: MaskSpec,
    given: Mapping[str, np.ndarray],
    segmenter: AnySegmenter | None,
    picture: Image.Image,
    size: Size,
    *,
    strict: bool = True,
) -> np.ndarray:
    """The masks (H, W, K) of a photo, sum 1 at every pixel: given ones, and the segmenter's for the others.

    Args:
      spec: see `MaskSpec`.
      given: {name: (H, W) in [0, 1]}, the masks of `spec.given`.
      segmenter: None if no region is missing.
      picture: the photo, as large as it is.
      size: (width, height) of the masks.
      strict: a region that is not in the photo is an error; else its mask is empty.

    Raises:
      UserError: as `segment_regions` and `compose_masks`.
    """
    segmented = {}
    if segmenter:
        segmented = segment_regions(spec, segmenter, picture, given, size, must_exist=strict)
    masks = compose_masks({**given, **segmented}, spec.names, strict=strict, shape=size[::-1])
    return spec.finish(masks, strict=strict)


def segment_regions(
    spec: MaskSpec,
    segmenter: AnySegmenter,
    picture: Image.Image,
    given: Mapping[str, np.ndarray],
    size: Size,
    *,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """Masks {name: (H, W)} by the segmenter of the regions that need one, where no mask of the user's lies.

    Args:
      spec: see `MaskSpec`.
      segmenter: the network.
      picture: the photo, as large as it is.
      given: {name: (H, W)}, the masks of the user's.
      size: (width, height) of the masks.
      must_exist: see `region_masks`.

    Raises:
      UserError: as `select_regions`, or a point outside the photo.
    """
    points = scale_points(spec.points, picture.size, size)
    probabilities = class_probabilities(segmenter, picture, size, refine=spec.options.refine_edges)
    return select_regions(
        spec.options, probabilities, segmenter.classes, spec.missing, given, points=points, must_exist=must_exist
    )


def check_smallest_scale(options: StylizationOptions, sizes: Iterable[tuple[int, ...]]) -> None:
    """Raises UserError unless images of these sizes keep a pixel at the deepest layer, also at the smallest scale."""
    network, layers, smallest = options.network.name, options.layers, min(options.schedule.scales)
    taps = tap_names(network, deepest_tap(network, [*layers.style, *layers.content]))
    needed = 2 ** sum(tap.startswith("pool") for tap in taps)
    side = min(map(min, sizes))
    if round(side * smallest) < needed:
        raise UserError(
            f"a side of {side} pixels becomes {round(side * smallest)} at the scale {smallest}; "
            f"{taps[-1]} of {network} needs {needed}: raise config.size or config.scales"
        )
