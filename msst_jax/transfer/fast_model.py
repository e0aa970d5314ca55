"""Opens a feed-forward model for a run: one that has its styles, or one for any painting with those of the user."""

from collections.abc import Mapping

from jax.typing import DTypeLike

from msst_jax.errors import UserError
from msst_jax.io.images import load_image
from msst_jax.models.any_model import StyleSource, painting_side, with_paintings
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.transfer.kept import KEEP, kept_regions
from msst_jax.transfer.style_mix import check_background_style, parse_style_mix, shares


def open_model(name: str, styles: Mapping[str, str], dtype: DTypeLike, *, stroke_size: float = 1.0) -> FeedforwardModel:
    """A feed-forward model that has a style for each of its regions.

    Args:
      name: see `find_feedforward`.
      styles: {region: its paintings}, see `parse_style_mix`, for a model for any painting; else empty.
      dtype: compute dtype.
      stroke_size: of the strokes, as a multiple of those of the paintings at the size that the model knows.

    Raises:
      UserError: as `load_feedforward`; paintings that are missing, cannot be read, or have no use.
    """
    return with_styles(name, load_feedforward(name, dtype), styles, stroke_size=stroke_size)


def with_styles(
    name: str, model: FeedforwardModel, styles: Mapping[str, str], *, stroke_size: float = 1.0
) -> FeedforwardModel:
    """The model called `name`, with the styles that it takes; the rest as in `open_model`."""
    check_model_styles(name, model, styles)
    if not model.for_any_painting:
        return model
    side = round(painting_side(model) * stroke_size)
    return with_paintings(model, {region: _load_source(region, text, side) for region, text in styles.items()})


def check_model_styles(name: str, model: FeedforwardModel, styles: Mapping[str, str]) -> None:
    """Raises UserError for styles that the model called `name` has no use for, or ones that it lacks."""
    if not model.for_any_painting:
        if styles:
            raise UserError(f"--style {next(iter(styles))}: {name} has its own styles; leave one of the two out")
        return
    check_background_style(styles, name)
    if kept := kept_regions(styles):
        raise UserError(f"--style {kept[0]}={KEEP} needs the optimization; give a painting, or omit --model")


def _load_source(region: str, text: str, side: int) -> StyleSource:
    mix = parse_style_mix(text, f"--style {region}")
    images = [load_image(painting.file, side, what="style") for painting in mix]
    return StyleSource(text, images, shares([painting.weight for painting in mix]))
