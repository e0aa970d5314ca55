"""Guidance of the style statistics by region: masks at the size of a layer, and the weight of each region.

Source: Gatys et al. 2017 (arXiv:1611.07865), section 4, spatial control by guidance channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.ops.image import resize

MIN_PIXELS = 16.0  # of a layer: statistics of fewer say little about a style, and count less in proportion


class Guidance(NamedTuple):
    """Where each of K regions takes its statistics, and how much they count."""

    guides: dict[str, jax.Array]
    """{style layer: (H', W', K)} in [0, 1]."""
    weights: dict[str, jax.Array]
    """{style layer: (K,)}; see `region_weights`."""


def guide_masks(masks: jax.Array, height: int, width: int) -> jax.Array:
    """Masks (H, W, K) as guides (height, width, K): averaged over each pixel of the layer, soft edges made steeper.

    A pixel of which less than a quarter lies in a region does not count for it, one of which three quarters do counts
    wholly: features at an edge mix both sides, and belong to the statistics of neither.
    """
    return jnp.clip(2 * resize(masks, height, width) - 0.5, 0.0, 1.0)


def region_weights(guides: jax.Array) -> jax.Array:
    """The factor (K,) of each region's style distance, from guides (H', W', K): its share, relative to the mean share.

    A Gram matrix over a region divides by its area, so that without the factor each pixel of a small region would be
    pulled at harder than one of a large region, up to where nothing is left of the photo. Where a region has few
    pixels at a layer, it counts less (see MIN_PIXELS), and not at all where it has none.
    """
    pixels = guides.sum((0, 1))
    return pixels / jnp.maximum(pixels.mean(), 1e-6) * jnp.minimum(pixels / MIN_PIXELS, 1.0)


def build_guidance(masks: jax.Array, sizes: dict[str, tuple[int, int]]) -> Guidance:
    """The guidance of masks (H, W, K) at style layers of the sizes {layer: (H', W')}."""
    guides = {layer: guide_masks(masks, *size) for layer, size in sizes.items()}
    return Guidance(guides, {layer: region_weights(guide) for layer, guide in guides.items()})
