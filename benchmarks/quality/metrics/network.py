"""Distances in the features of VGG-16: style of each region against each painting, and content against the photo.

Presets optimize some of the layers; others of the same network tell whether a picture is only good by the very numbers
that made it. The weights are the embedded ones, whatever else is installed: figures of two machines compare. Layers
beyond them take the converted ones, of the same network.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.averages import mean_of_known
from msst_jax.losses.functional import guided_gram
from msst_jax.models.pretrained import EMBEDDED_DEEPEST, EMBEDDED_VGG16, load_vgg
from msst_jax.models.vgg import VGG, deepest_tap, tap_names
from msst_jax.ops.image import normalize, resize

LAYERS = ("relu2_2", "relu3_3", "relu4_2", "relu4_3")
LAYER_SETS = {"five": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")}
"""Layers by name: "five" are the last of every block, as in LPIPS with VGG-16; fast models are compared at them."""
LEAST_PIXELS = 1.0  # of a layer: a region with less of it has no statistics there


class Statistics(NamedTuple):
    """An image as the network sees it."""

    features: dict[str, jax.Array]
    """{layer: (H', W', C)}."""
    grams: dict[str, jax.Array]
    """{layer: (K, C, C)}, a matrix for each region; NaN where the region has no pixel at the layer."""


def load_network(layers: Sequence[str] = LAYERS) -> VGG:
    """VGG-16 up to the deepest of some layers.

    Raises:
      UserError: a layer that the network does not have, or one for which its weights must be converted first.
    """
    embedded = tap_names("vgg16", EMBEDDED_DEEPEST)
    path = EMBEDDED_VGG16 if deepest_tap("vgg16", layers) in embedded else None
    return load_vgg("vgg16", layers, padding="replicate", path=path)[0]


def image_statistics(
    vgg: VGG, image: np.ndarray, masks: np.ndarray | None = None, layers: Sequence[str] = LAYERS
) -> Statistics:
    """The features of an image (H, W, 3) in [0, 1], and the Gram matrices of its regions.

    Args:
      vgg: see `load_network`.
      image: of any size.
      masks: (H, W, K) in [0, 1]; None for one region, the whole image.
      layers: where; no deeper than the network.
    """
    whole = np.ones((*image.shape[:2], 1), np.float32)
    arrays = jnp.asarray(image), jnp.asarray(whole if masks is None else masks)
    return Statistics(*_statistics(tuple(layers), vgg, *arrays))


@partial(jax.jit, static_argnums=0)
def _statistics(
    layers: tuple[str, ...], vgg: VGG, image: jax.Array, masks: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    features = {layer: value[0] for layer, value in vgg(normalize(image)[None], layers).items()}
    return features, {layer: _region_grams(value, masks) for layer, value in features.items()}


def _region_grams(features: jax.Array, masks: jax.Array) -> jax.Array:
    # A rule of its own, that of no loss: a pixel counts wholly if three quarters of it lie in the region.
    guides = jnp.clip(2 * resize(masks, *features.shape[:2]) - 0.5, 0.0, 1.0)
    measured = guides.sum((0, 1)) >= LEAST_PIXELS
    return jnp.where(measured[:, None, None], guided_gram(features, guides), jnp.nan)


def gram_matrix(picture: Statistics, paintings: list[Statistics]) -> np.ndarray:
    """Relative Gram distances (K, J) of the K regions of a picture to J paintings: |G_k - G(s_j)|^2 / |G(s_j)|^2.

    The mean over the layers, without those at which the region has no pixel; NaN if it has none anywhere.
    """
    columns = []
    for painting in paintings:
        layers = [_relative(picture.grams[layer], gram) for layer, gram in painting.grams.items()]
        columns.append(mean_of_known(np.stack(layers)))
    return np.stack(columns, -1)


def content_distance(picture: Statistics, photo: Statistics) -> float:
    """Relative distance |F(picture) - F(photo)|^2 / |F(photo)|^2 of two images of one size, mean over the layers."""
    layers = [_relative(picture.features[layer][None], features[None]) for layer, features in photo.features.items()]
    return float(np.mean(layers))


def _relative(values: jax.Array, target: jax.Array) -> np.ndarray:
    """|v_k - t|^2 / |t|^2 of values (K, ...) and one target (1, ...): (K,)."""
    axes = tuple(range(1, values.ndim))
    return np.asarray(jnp.sum(jnp.square(values - target), axes) / jnp.sum(jnp.square(target)), float)
