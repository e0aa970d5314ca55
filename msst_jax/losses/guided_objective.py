"""The guided stylization loss: one image, whose regions take their styles by the statistics of their own pixels.

K is the number of regions, each with its own style. One image goes through VGG, whatever K is.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from msst_jax.losses.functional import content_loss, guided_gram, relative_style_distances
from msst_jax.losses.guidance import Guidance, LayerGrid, build_guidance
from msst_jax.losses.objective import (
    FeatureLayers,
    Features,
    LossWeights,
    Targets,
    Terms,
    content_terms,
    smoothness_term,
    style_terms,
    sum_terms,
)
from msst_jax.models.vgg import VGG, receptive_field, taps_to
from msst_jax.ops.image import normalize
from msst_jax.ops.picture_split import PictureSplit


def guidance_of_masks(vgg: VGG, masks: jax.Array, layers: Sequence[str]) -> Guidance:
    """The guidance of masks (H, W, K), sum 1 at every pixel, for the style layers of a network."""
    image = jax.ShapeDtypeStruct((1, *masks.shape[:2], 3), jnp.float32)
    features = jax.eval_shape(lambda images: vgg(images, layers), image)
    grids = {}
    for layer in layers:
        _, height, width, _ = features[layer].shape
        grids[layer] = LayerGrid(height, width, receptive_field(taps_to(vgg.taps, layer)))
    return build_guidance(masks, grids)


def guided_features(vgg: VGG, layers: FeatureLayers, image: jax.Array) -> Features:
    """The features of an image (H, W, 3) in [0, 1], which is both what is optimized and the result."""
    features = vgg(normalize(image)[None], [*layers.style, *layers.content])
    return Features(features, {layer: value[0] for layer, value in features.items()})


def guided_stylization_loss(
    vgg: VGG,
    targets: Targets,
    guidance: Guidance,
    layers: FeatureLayers,
    image: jax.Array,
    weights: LossWeights,
    *,
    features: Features | None = None,
    split: PictureSplit | None = None,
) -> tuple[jax.Array, Terms]:
    """The guided loss: L = style + blend + content_weight * (content + tv_weight * smooth), all of one image.

    style is sum_k w_k D[k, k] and blend is sum_k w_k sum_{j != k} D[k, j] over the layers, where D[k, j] is the mean
    square difference of the Gram matrix over region k from that of style j, relative to the mean square of the latter,
    and w_k the weight of the region.

    Args:
      vgg: the network.
      targets: of the K styles and the photo.
      guidance: of the K regions; see `guidance_of_masks`.
      layers: the layers to compare.
      image: the optimized variables (H, W, 3) in [0, 1].
      weights: the four factors.
      features: `guided_features` of the image, where these are there already.
      split: how the image lies on several devices; None = it is on one.

    Returns:
      The loss and its weighted terms {"style", "blend", "content", "smooth"}, which sum to it.

    Source: Gatys et al. 2017 (arXiv:1611.07865), section 4, for the style term.
    """
    features = features or guided_features(vgg, layers, image)
    grams = {layer: guided_gram(features.result[layer], guidance.guides[layer], split) for layer in layers.style}
    contents = {layer: content_loss(features.pixels[layer], targets.content[layer]) for layer in layers.content}
    summands = (
        style_terms(guided_distances(grams, targets.grams, guidance), layers, weights),
        content_terms(contents, layers, weights),
        smoothness_term(weights, normalize(image)),
    )
    _, terms = sum_terms(summands)
    return sum(terms.values(), jnp.float32(0.0)), terms


def guided_distances(
    grams: Mapping[str, jax.Array], targets: Mapping[str, jax.Array], guidance: Guidance
) -> dict[str, jax.Array]:
    """w_k D[k, j], {style layer: (K, K)}, of the Gram matrices {style layer: (K, C, C)} over the regions."""
    return {
        layer: guidance.weights[layer][:, None] * relative_style_distances(gram, targets[layer])
        for layer, gram in grams.items()
    }
