"""The guided stylization loss of a batch of photos, each with its own styles: what feed-forward models train on."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from msst_jax.losses.guidance import Guidance
from msst_jax.losses.guided_objective import guidance_of_masks, guided_stylization_loss
from msst_jax.losses.objective import FeatureLayers, Features, LossWeights, Targets, Terms
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize


def guided_batch_loss(
    vgg: VGG,
    grams: Mapping[str, jax.Array],
    layers: FeatureLayers,
    weights: LossWeights,
    pixels: jax.Array,
    photos: jax.Array,
    masks: jax.Array,
    factors: jax.Array | None = None,
) -> tuple[jax.Array, Terms]:
    """Mean of `guided_stylization_loss` over a batch of photos.

    Args:
      vgg: the loss network.
      grams: Gram matrices {style layer: (N, K, C, C)} of the style of each region of each photo.
      layers: the layers to compare.
      weights: the four factors.
      pixels: the stylized photos, (N, H, W, 3) in [0, 1].
      photos: (N, H, W, 3) in [0, 1].
      masks: (N, H, W, K), sum 1 at every pixel.
      factors: (K,), of the style distances of the regions, beside what their sizes make of them; None = 1.

    Returns:
      The loss and its weighted terms.
    """
    contents = vgg(normalize(photos), layers.content)
    features = vgg(normalize(pixels), [*layers.style, *layers.content])
    guidance = jax.vmap(lambda mask: guidance_of_masks(vgg, mask, layers.style))(masks)
    if factors is not None:
        guidance = guidance._replace(weights=jax.tree.map(lambda weights: weights * factors, guidance.weights))

    def single(
        pixels: jax.Array,
        features: Mapping[str, jax.Array],
        gram: dict[str, jax.Array],
        content: Mapping[str, jax.Array],
        guidance: Guidance,
    ) -> tuple[jax.Array, Terms]:
        targets = Targets(gram, {layer: value[None] for layer, value in content.items()})
        known = Features({layer: value[None] for layer, value in features.items()}, features)
        return guided_stylization_loss(vgg, targets, guidance, layers, pixels, weights, features=known)

    return jax.tree.map(jnp.mean, jax.vmap(single)(pixels, features, dict(grams), contents, guidance))
