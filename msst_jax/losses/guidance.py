"""Guidance of the style statistics by region: masks at the size of a layer, and the weight of each region.

Source: Gatys et al. 2017 (arXiv:1611.07865), section 4, spatial control by guidance channels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.ops.box_filter import box_filter
from msst_jax.ops.image import resize

MIN_PIXELS = 16.0  # of a layer: statistics of fewer say little about a style, and count less in proportion


class LayerGrid(NamedTuple):
    """The pixels of a layer."""

    height: int
    width: int
    receptive_field: int
    """Side in pixels of the image; see `models.vgg.receptive_field`."""


class Guidance(NamedTuple):
    """Where each of K regions takes its statistics, and how much they count."""

    guides: dict[str, jax.Array]
    """{style layer: (H', W', K)} in [0, 1]."""
    weights: dict[str, jax.Array]
    """{style layer: (K,)}; see `region_weights`."""


def guide_masks(masks: jax.Array, grid: LayerGrid) -> jax.Array:
    """Masks (H, W, K) as guides (H', W', K) of a layer: eroded by what its features see of the other regions.

    A feature belongs to a region by the share of it in the middle of its receptive field, a square of half the side:
    wholly if nothing else lies there, not at all from one half down, as at a straight edge. Features at an edge mix
    both sides: counted for one region they paint its style beyond the edge, a halo. The whole receptive field, whose
    rim has hardly any influence, would leave a rim of the region without style.
    """
    share = box_filter(jnp.moveaxis(masks, -1, 0), max(1, round(grid.receptive_field / 4)))
    eroded = jnp.clip(2 * jnp.moveaxis(share, 0, -1) - 1, 0.0, 1.0)
    return jnp.clip(resize(eroded, grid.height, grid.width), 0.0, 1.0)


def region_weights(masks: jax.Array, guides: jax.Array) -> jax.Array:
    """The factors (K,) of the regions' style distances at a layer: roots of their shares of the photo.

    A Gram matrix over a region divides by its area, so that without a factor each pixel of a small region would be
    pulled at harder than one of a large region, up to where nothing is left of the photo. With the share as the factor
    all would be pulled at alike, and small regions, which keep less than their share after erosion, stay photos.

    Args:
      masks: (H, W, K), sum 1 at every pixel.
      guides: (H', W', K) of the layer. A region with few pixels there counts less (see MIN_PIXELS), one with none
        not at all.
    """
    shares = masks.mean((0, 1))
    return jnp.sqrt(shares / jnp.maximum(shares.mean(), 1e-6)) * jnp.minimum(guides.sum((0, 1)) / MIN_PIXELS, 1.0)


def build_guidance(masks: jax.Array, grids: Mapping[str, LayerGrid]) -> Guidance:
    """The guidance of masks (H, W, K) at style layers {layer: its grid}."""
    guides = {layer: guide_masks(masks, grid) for layer, grid in grids.items()}
    return Guidance(guides, {layer: region_weights(masks, guide) for layer, guide in guides.items()})
