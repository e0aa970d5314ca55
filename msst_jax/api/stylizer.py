"""Stylizes photos with a trained feed-forward model, arrays to arrays."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from msst_jax.api.masks import take_masks
from msst_jax.api.pictures import PictureLike, take_picture
from msst_jax.api.points import take_points
from msst_jax.api.presets import positive_integer
from msst_jax.api.segment import SegmenterLike, take_segmenter
from msst_jax.api.styles import StyleLike, check_styles, take_style_mix
from msst_jax.api.wording import in_callers_words
from msst_jax.errors import UserError, nearest_or_all
from msst_jax.io.finite import check_finite
from msst_jax.io.images import fit_size
from msst_jax.models.any_model import StyleSource, painting_side, with_paintings
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.models.precision import COMPUTE_DTYPES
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.presets.lookup import load_preset
from msst_jax.presets.validation import check_number
from msst_jax.regions.masks import BACKGROUND, MaskSpec, foreground
from msst_jax.regions.segmenter import AnySegmenter
from msst_jax.transfer.build import build_input_options
from msst_jax.transfer.fast_model import check_model_styles
from msst_jax.transfer.feedforward import stylize_batch
from msst_jax.transfer.inputs import photo_masks
from msst_jax.transfer.kept import KEEP
from msst_jax.transfer.style_mix import shares


class LoadedStylizer:
    """A feed-forward model; called with a photo, it gives the picture.

    Attributes:
      regions: names of the regions that it has a style for.
      styles: names of the paintings that it was trained with or was given, one for each region.
    """

    def __init__(self, model: FeedforwardModel, segmenter: SegmenterLike):
        self._model = model
        self._segmenter_given = segmenter
        self._masks = build_input_options(load_preset("photo").get_config()).masks
        self.regions, self.styles = model.regions, model.styles

    def __call__(
        self,
        photo: PictureLike,
        masks: Mapping[str, PictureLike] | None = None,
        blend: float | None = None,
        *,
        points: Mapping[str, tuple[int, int]] | None = None,
        size: int = 0,
    ) -> np.ndarray:
        """The stylized photo, float32 (H, W, 3) in [0, 1].

        Args:
          photo: an array (H, W, 3), uint8 in 0 to 255 or floats in [0, 1]; a Pillow picture; or a path.
          masks: {region: mask} as in `stylize`; regions without one are segmented. The background is the rest; a mask
            of it has no effect, so that what `segment` gives can be passed on.
          blend: how much each region takes of the others' styles, 0 or more; None = 0.
          points: {region: (x, y)} as in `stylize`.
          size: longest side of the result in pixels, 0 = that of the photo.

        Raises:
          UserError: (a ValueError) an argument that cannot be used, or a region that no segmenter knows.
          DivergenceError: (a UserError) the result is not finite.
        """
        with in_callers_words():
            picture = take_picture(photo, "photo")
            check_number("blend", 0.0 if blend is None else blend)
            width, height = fit_size(*picture.size, positive_integer(size, "size", 0))
            known = foreground(self.regions)
            if isinstance(masks, Mapping):  # the background is what the others leave, as `segment` gives it
                masks = {name: mask for name, mask in masks.items() if name != BACKGROUND}
            given = take_masks(masks, known, picture.size, (width, height))
            spec = MaskSpec(self.regions, tuple(given), self._masks, take_points(points, self.regions, given))
            segmenter = self._segmenter if spec.missing else None
            composed = photo_masks(spec, given, segmenter, picture.image, (width, height), strict=False)
            mixtures = blend_mixtures(len(self.regions), blend or 0.0)
            pixels = jnp.asarray(picture.at((width, height)))
            images = stylize_batch(self._model.network, pixels[None], jnp.asarray(composed)[None], mixtures)
            check_finite(images, "the result is not finite; give another model")
        return np.asarray(images[0])

    @cached_property
    def _segmenter(self) -> AnySegmenter:
        return take_segmenter(self._segmenter_given)


def load_stylizer(
    name: str | os.PathLike[str] = "builtin",
    styles: Mapping[str, StyleLike] | None = None,
    *,
    segmenter: SegmenterLike = None,
    dtype: str = "float32",
) -> LoadedStylizer:
    """Loads a feed-forward model: `load_stylizer("builtin")(photo)` is the picture, at the size of the photo.

    `load_stylizer("any", {"person": first, "background": second})` takes its styles from paintings, without a training.

    The program for a photo (H, W, 3) is compiled at the first call with that size.

    Args:
      name: "builtin", "any", "kandinsky_wave", "starry_wheat", a workdir of train.py, or a weights file.
      styles: {region: painting} for a model for any painting, with "background": arrays (H, W, 3) in [0, 1] and all
        that `stylize` takes, but for "keep". None for a model that has its styles.
      segmenter: as in `segment`, for regions without a mask; loaded at the first call that needs it.
      dtype: of the computation, "float32" or "bfloat16".

    Returns:
      See `LoadedStylizer`.

    Raises:
      UserError: (a ValueError) a file that is missing, damaged or no such model; styles that it lacks or has no use
        for; an unknown dtype.
    """
    with in_callers_words():
        if dtype not in COMPUTE_DTYPES:
            raise UserError(f"dtype is {dtype!r}; {nearest_or_all(str(dtype), COMPUTE_DTYPES)}")
        if not isinstance(name, str | os.PathLike) or not os.fspath(name):
            raise UserError(f"name is {name!r}; give 'builtin', 'any', a workdir of train.py or a weights file")
        return LoadedStylizer(_load(os.fspath(name), styles, COMPUTE_DTYPES[dtype]), segmenter)


def _load(name: str, styles: Mapping[str, StyleLike] | None, dtype: DTypeLike) -> FeedforwardModel:
    model = load_feedforward(name, dtype)
    given = {} if styles is None else check_styles(styles)
    mixes = {region: take_style_mix(value, region) for region, value in given.items()}
    check_model_styles(name, model, {region: "" if mix else KEEP for region, mix in mixes.items()})
    if not model.for_any_painting:
        return model
    side = painting_side(model)
    return with_paintings(model, {region: _source(region, mix, side) for region, mix in mixes.items()})


def _source(region: str, mix: Sequence[tuple[PictureLike, float]], side: int) -> StyleSource:
    """The paintings of a region, with `side` as the longest side: a smaller one is enlarged, as in the training."""
    what = f"styles[{region!r}]"
    pictures = [take_picture(painting, what) for painting, _ in mix]
    images = [picture.fitted(side) for picture in pictures]
    names = ",".join(picture.name for picture in pictures)
    return StyleSource(names, images, shares([weight for _, weight in mix]))
