"""Checks and segmenter of a feed-forward model, for photos and videos alike."""

from collections.abc import Mapping

from absl import logging

from msst_jax.errors import UserError, nearest_or_all
from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.regions.masks import BACKGROUND, MaskSpec, foreground
from msst_jax.regions.region_names import OR_OWN_SEGMENTER, class_names
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter, segmenter_classes


def check_model_masks(name: str, model: FeedforwardModel, masks: Mapping[str, str]) -> None:
    """Raises UserError for masks of regions that the model called `name` has no use for."""
    for region in masks:
        if region not in model.regions or region == BACKGROUND:
            known = " and ".join([*foreground(model.regions), "the rest"])
            raise UserError(f"--mask {region}: {name} has styles for {known}; give it a style, or leave the mask out")


def load_model_segmenter(name: str, spec: MaskSpec, segmenter: str) -> AnySegmenter | None:
    """The network for the regions of the model called `name` that have no mask; None if all have one.

    Args:
      name: of the model.
      spec: of its regions.
      segmenter: see `load_segmenter`.

    Raises:
      UserError: as `load_segmenter`, or a region that no network knows.
    """
    if not spec.missing:
        if segmenter:
            logging.info("segmenter %s is not needed: every region has a mask", segmenter)
        return None
    known = segmenter_classes(segmenter)
    unknown = [region for region in spec.missing if not set(class_names(region)) <= set(known)]
    if unknown:
        similar = next(nearest_or_all(name, known, "") for name in class_names(unknown[0]) if name not in known)
        meant = f" ({similar})" if similar else ""
        raise UserError(
            f"region {unknown[0]!r} of {name} is not a class that a segmenter knows{meant}; "
            f"give --mask {unknown[0]}=FILE{OR_OWN_SEGMENTER}"
        )
    return load_segmenter(segmenter, spec.missing)
