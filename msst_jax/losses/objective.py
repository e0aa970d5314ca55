"""The stylization loss: style, blend, content and total variation terms, weighted and summed over VGG layers.

K is the number of regions, each with its own style.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.losses.functional import (
    blend_loss,
    content_loss,
    gram,
    mixed_gram,
    style_distances,
    style_loss,
    total_variation,
)
from msst_jax.losses.known_gradient import with_gradient
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, normalize

TERMS = ("style", "blend", "content", "smooth")

Terms = dict[str, jax.Array]
"""{name of a term: weighted scalar}; they sum to the loss."""

LossTerm = Callable[[jax.Array], tuple[jax.Array, Terms]]
"""A summand of the loss: images to (its value, its weighted terms)."""


class LossWeights(NamedTuple):
    """The factors of the four loss terms (scalars)."""

    style: jax.Array | float
    blend: jax.Array | float
    content: jax.Array | float
    tv: jax.Array | float
    """Of the total variation; it is multiplied by `content` too."""

    def with_tv_per_pixel(self, height: int, width: int) -> "LossWeights":
        """The factors for images of a size, where `tv` weighs the total variation per pixel."""
        return self._replace(tv=self.tv / float(height * width))


class FeatureLayers(NamedTuple):
    """The VGG layers of the style and content terms, and the factor of each."""

    style: tuple[str, ...]
    content: tuple[str, ...]
    style_factors: tuple[float, ...]
    content_factors: tuple[float, ...]


class Targets(NamedTuple):
    """Precomputed VGG targets of the style and content terms."""

    grams: dict[str, jax.Array]
    """Gram matrices {style layer: (K, C, C)} of the K style images."""
    content: dict[str, jax.Array]
    """Features {content layer: (1, H', W', C)} of the photo."""
    photo: jax.Array | None = None
    """The photo (H, W, 3) in [0, 1], in place of its features, for losses that compute those of a part at a time."""


class Features(NamedTuple):
    """The VGG features that an evaluation of the loss computes anyway."""

    pixels: Mapping[str, jax.Array]
    """{style layer: (I, H', W', C)} of the I optimized images."""
    result: Mapping[str, jax.Array]
    """{content layer: (H', W', C)} of the result."""


def loss_features(vgg: VGG, layers: FeatureLayers, pixels: jax.Array, result: jax.Array) -> Features:
    """The features of images (I, H, W, 3) and their composite (H, W, 3), in [0, 1]; each goes through VGG once."""
    images = vgg(normalize(pixels), layers.style)
    composed = vgg(normalize(result)[None], layers.content)
    return Features(images, {layer: value[0] for layer, value in composed.items()})


def style_targets(vgg: VGG, style: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
    """Gram matrices {layer: (1, C, C)} of one style image (H, W, 3) in [0, 1]."""
    features = vgg(normalize(style)[None], layers)
    return {layer: gram(features[layer]) for layer in layers}


def mixed_style_targets(paintings: Sequence[Mapping[str, jax.Array]], shares: Sequence[float]) -> dict[str, jax.Array]:
    """The style of several paintings: their `style_targets`, mixed layer by layer; those of a single one as they are.

    Args:
      paintings: the targets of each.
      shares: of each, of sum 1; see `mixed_gram`.
    """
    if len(paintings) == 1:  # mixing would round it
        return dict(paintings[0])
    weights = jnp.asarray(shares, next(iter(paintings[0].values())).dtype)
    return {layer: mixed_gram(jnp.concatenate([each[layer] for each in paintings]), weights) for layer in paintings[0]}


def content_targets(vgg: VGG, content: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
    """Features {layer: (1, H', W', C)} of the photo (H, W, 3) in [0, 1]."""
    return vgg(normalize(content)[None], layers)


def weighted_sum(values: Mapping[str, jax.Array], factors: Sequence[float]) -> jax.Array:
    """Sum over layers of value times factor."""
    return sum((value * factor for value, factor in zip(values.values(), factors, strict=True)), jnp.float32(0.0))


def stylization_loss(
    vgg: VGG,
    targets: Targets,
    masks: jax.Array,
    layers: FeatureLayers,
    pixels: jax.Array,
    weights: LossWeights,
    *,
    remat: bool = False,
    features: Features | None = None,
) -> tuple[jax.Array, Terms]:
    """The stylization loss: L = style + blend + content_weight * (content + tv_weight * smooth).

    Each image goes through VGG once, only as deep as its own terms need: the region images to the
    deepest style layer, the composite to the deepest content layer.

    Args:
      vgg: the network.
      targets: of the K styles and the photo.
      masks: (H, W, K), sum 1 at every pixel.
      layers: the layers to compare.
      pixels: the optimized variables, (K, H, W, 3) in [0, 1], one full image per region.
      weights: the four factors.
      remat: caps peak memory by processing one image at a time, see `sequential_terms`. Loss and gradient are equal up
        to rounding, but only the loss is differentiable (not its terms), only in `pixels`, and only once.
      features: `loss_features` of the pixels and their composite, where these are there already; without `remat`.

    Returns:
      The loss and its weighted terms {"style", "blend", "content", "smooth"}, which sum to it.
    """
    style = partial(_style_terms_of_features, targets.grams, layers, weights)
    content = partial(_content_terms_of_features, targets.content, layers, weights)
    result = composite(pixels, masks)
    normalized = normalize(result)
    if remat:
        images = [(partial(_style_terms_of, vgg, style, layers, k), pixels[k : k + 1]) for k in range(len(pixels))]
        summands = sequential_terms([*images, (partial(_content_terms_of, vgg, content, layers), normalized)])
    else:
        features = features or loss_features(vgg, layers, pixels, result)
        summands = [style(features.pixels), content(features.result)]
    return sum_terms([*summands, smoothness_term(weights, normalized)])


def sum_terms(summands: Iterable[tuple[jax.Array, Terms]]) -> tuple[jax.Array, Terms]:
    """The sum of (value, terms), with all the terms of the method."""
    values, term_dicts = zip(*summands, strict=True)
    zero = jnp.float32(0.0)
    terms = {name: sum((each[name] for each in term_dicts if name in each), zero) for name in TERMS}
    return sum(values, zero), terms


def smoothness_term(weights: LossWeights, normalized: jax.Array) -> tuple[jax.Array, Terms]:
    """The total variation of the normalized result (H, W, 3)."""
    smooth = weights.content * weights.tv * total_variation(normalized)
    return smooth, {"smooth": smooth}


def style_terms(
    distances: Mapping[str, jax.Array], layers: FeatureLayers, weights: LossWeights, first: int = 0
) -> tuple[jax.Array, Terms]:
    """The style and blend terms of distances {style layer: D (I, K)}, of the regions first, first + 1, ..."""
    own = {layer: style_loss(d, first) for layer, d in distances.items()}
    other = {layer: blend_loss(d, first) for layer, d in distances.items()}
    style = weights.style * weighted_sum(own, layers.style_factors)
    blend = weights.blend * weighted_sum(other, layers.style_factors)
    return style + blend, {"style": style, "blend": blend}


def content_terms(
    losses: Mapping[str, jax.Array], layers: FeatureLayers, weights: LossWeights
) -> tuple[jax.Array, Terms]:
    """The content term of the losses {content layer: scalar}; see `content_loss`."""
    content = weights.content * weighted_sum(losses, layers.content_factors)
    return content, {"content": content}


def _style_terms_of_features(
    grams: Mapping[str, jax.Array],
    layers: FeatureLayers,
    weights: LossWeights,
    features: Mapping[str, jax.Array],
    first: int = 0,
) -> tuple[jax.Array, Terms]:
    """The style and blend terms of the features of the images of the regions first, first + 1, ..."""
    return style_terms(feature_distances(features, grams, layers.style), layers, weights, first)


def _style_terms_of(
    vgg: VGG, style: Callable[..., tuple[jax.Array, Terms]], layers: FeatureLayers, first: int, pixels: jax.Array
) -> tuple[jax.Array, Terms]:
    """`_style_terms_of_features` of images (I, H, W, 3) in [0, 1]."""
    return style(vgg(normalize(pixels), layers.style), first)


def _content_terms_of_features(
    targets: Mapping[str, jax.Array], layers: FeatureLayers, weights: LossWeights, features: Mapping[str, jax.Array]
) -> tuple[jax.Array, Terms]:
    """The content term of the features {layer: (H', W', C)} of the composite."""
    losses = {layer: content_loss(features[layer][None], targets[layer]) for layer in layers.content}
    return content_terms(losses, layers, weights)


def _content_terms_of(
    vgg: VGG, content: Callable[..., tuple[jax.Array, Terms]], layers: FeatureLayers, result: jax.Array
) -> tuple[jax.Array, Terms]:
    """`_content_terms_of_features` of the normalized composite (H, W, 3)."""
    features = vgg(result[None], layers.content)
    return content({layer: value[0] for layer, value in features.items()})


def sequential_terms(parts: Sequence[tuple[LossTerm, jax.Array]]) -> list[tuple[jax.Array, Terms]]:
    """Evaluates the summands (f, x) of a loss one at a time, so that only one f(x)'s activations are in memory.

    The gradient of a summand is computed together with its value, before the next summand begins; the backward pass
    only multiplies by it, so nothing is computed twice. `jax.checkpoint` would run every forward pass twice, and XLA
    on CPU undoes it.

    Returns:
      (value, terms) of every summand; only the value is differentiable, only in x, and only once.

    Raises:
      UserError: a second derivative is asked for.
    """
    results = []
    previous: jax.Array | float = 0.0
    for term, x in parts:
        fixed = jax.lax.stop_gradient(x)
        # XLA on CPU drops optimization_barrier before scheduling, but it must wait for a product with zero.
        (value, terms), gradient = jax.value_and_grad(term, has_aux=True)(fixed + 0 * previous)
        results.append((with_gradient(value, gradient, x), terms))
        previous = jnp.sum(gradient)
    return results


def layer_distances(
    vgg: VGG, grams: Mapping[str, jax.Array], pixels: jax.Array, layers: Sequence[str]
) -> dict[str, jax.Array]:
    """Style distances {style layer: D (K, K)} of images (K, H, W, 3) in [0, 1] to the target Gram matrices."""
    return feature_distances(vgg(normalize(pixels), layers), grams, layers)


def feature_distances(
    features: Mapping[str, jax.Array], grams: Mapping[str, jax.Array], layers: Sequence[str]
) -> dict[str, jax.Array]:
    """As `layer_distances`, of the features {layer: (K, H', W', C)} of the images."""
    return {layer: style_distances(gram(features[layer]), grams[layer]) for layer in layers}
