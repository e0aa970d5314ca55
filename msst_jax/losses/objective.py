"""The losses of the method, one pure function per formula, and their weighted sum.

Features are (N, H, W, C); Gram matrices (N, C, C), float32 whatever the features are.
K is the number of regions, each with a style.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.losses.functional import blend_loss, content_loss, gram, style_distances, style_loss, total_variation
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, normalize
from msst_jax.training.task import Terms

TERMS = ("style", "blend", "content", "smooth")

LossTerm = Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""A part of the loss: images to (its value, its weighted terms)."""


class LossWeights(NamedTuple):
    """The four factors of the loss (scalars)."""

    style: jax.Array | float
    blend: jax.Array | float
    content: jax.Array | float
    tv: jax.Array | float


class FeatureLayers(NamedTuple):
    """Which VGG layers are compared, and the factor of each."""

    style: tuple[str, ...]
    content: tuple[str, ...]
    style_factors: tuple[float, ...]
    content_factors: tuple[float, ...]


class Targets(NamedTuple):
    """What the images are compared with."""

    grams: dict[str, jax.Array]
    """{style layer: (K, C, C)} of the K style pictures."""
    content: dict[str, jax.Array]
    """{content layer: (1, H', W', C)} of the photo."""


def style_targets(vgg: VGG, style: jax.Array, layers: Sequence[str]) -> dict[str, jax.Array]:
    """Gram matrices {layer: (1, C, C)} of one style picture (H, W, 3) in [0, 1]."""
    features = vgg(normalize(style)[None], layers)
    return {layer: gram(features[layer]) for layer in layers}


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
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of the method: L = style + blend + content_weight * (content + tv_weight * smooth).

    Each image goes through VGG once, only as deep as its own losses need: the region images to the
    deepest style layer, the composite to the deepest content layer.

    Args:
      vgg: the network.
      targets: of the K styles and the photo.
      masks: (H, W, K), sum 1 at every pixel.
      layers: the layers to compare.
      pixels: the unknowns, (K, H, W, 3) in [0, 1], one full image per region.
      weights: the four factors.
      remat: caps memory by taking one image at a time, see `sequential_terms`. Loss and gradient are equal up to
        rounding, but only the loss has a gradient (not its terms), only of the pixels, and only the first.

    Returns:
      The loss and its weighted terms {"style", "blend", "content", "smooth"}, which add up to it.
    """
    style = partial(_style_terms, vgg, targets.grams, layers, weights)
    content = partial(_content_terms, vgg, targets.content, layers, weights)
    result = normalize(composite(pixels, masks))
    if remat:
        images = [(partial(style, first=k), pixels[k : k + 1]) for k in range(len(pixels))]
        found = sequential_terms([*images, (content, result)])
    else:
        found = [style(pixels), content(result)]
    smooth = weights.content * weights.tv * total_variation(result)
    values, parts = zip(*found, (smooth, {"smooth": smooth}), strict=True)
    zero = jnp.float32(0.0)
    terms = {name: sum((part[name] for part in parts if name in part), zero) for name in TERMS}
    return sum(values, zero), terms


def _style_terms(
    vgg: VGG,
    grams: Mapping[str, jax.Array],
    layers: FeatureLayers,
    weights: LossWeights,
    pixels: jax.Array,
    first: int = 0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The style and blend terms of images (I, H, W, 3) in [0, 1], those of the regions from `first` on."""
    distances = layer_distances(vgg, grams, pixels, layers.style)
    own = {layer: style_loss(d, first) for layer, d in distances.items()}
    other = {layer: blend_loss(d, first) for layer, d in distances.items()}
    style = weights.style * weighted_sum(own, layers.style_factors)
    blend = weights.blend * weighted_sum(other, layers.style_factors)
    return style + blend, {"style": style, "blend": blend}


def _content_terms(
    vgg: VGG, targets: Mapping[str, jax.Array], layers: FeatureLayers, weights: LossWeights, result: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The content term of the normalised result (H, W, 3)."""
    features = vgg(result[None], layers.content)
    contents = {layer: content_loss(features[layer], targets[layer]) for layer in layers.content}
    content = weights.content * weighted_sum(contents, layers.content_factors)
    return content, {"content": content}


def sequential_terms(parts: Sequence[tuple[LossTerm, jax.Array]]) -> list[tuple[jax.Array, dict[str, jax.Array]]]:
    """What each part (f, x) of a sum gives, f(x), with the features of one part in memory at a time.

    The gradient of a part is taken together with its value, before the next part begins, and only multiplied later:
    nothing is computed twice. `jax.checkpoint` would compute every forward pass twice, and XLA on CPU undoes it.

    Returns:
      (value, terms) of every part; the value has a (first) gradient with respect to x, nothing else has one.
    """
    found = []
    done: jax.Array | float = 0.0
    for part, x in parts:
        fixed = jax.lax.stop_gradient(x)
        # XLA on CPU drops optimization_barrier before it orders its work; a product with zero it must wait for.
        (value, terms), gradient = jax.value_and_grad(part, has_aux=True)(fixed + 0 * done)
        found.append((value + jnp.sum(gradient * (x - fixed)), terms))
        done = jnp.sum(gradient)
    return found


def layer_distances(
    vgg: VGG, grams: Mapping[str, jax.Array], pixels: jax.Array, layers: Sequence[str]
) -> dict[str, jax.Array]:
    """{style layer: D (K, K)} of images (K, H, W, 3) in [0, 1] against target Gram matrices."""
    features = vgg(normalize(pixels), layers)
    return {layer: style_distances(gram(features[layer]), grams[layer]) for layer in layers}


def batch_stylization_loss(
    vgg: VGG,
    grams: Mapping[str, jax.Array],
    layers: FeatureLayers,
    weights: LossWeights,
    pixels: jax.Array,
    photos: jax.Array,
    masks: jax.Array,
) -> tuple[jax.Array, Terms]:
    """Mean of `losses.stylization_loss` over a batch of photos.

    Args:
      vgg: the network of the losses.
      grams: {style layer: (K, C, C)} of the styles.
      layers: the layers to compare.
      weights: the four factors.
      pixels: (N, K, H, W, 3) in [0, 1].
      photos: (N, H, W, 3) in [0, 1].
      masks: (N, H, W, K), sum 1 at every pixel.

    Returns:
      The loss and its weighted terms.
    """
    contents = jax.tree.map(lambda features: features[:, None], vgg(normalize(photos), layers.content))

    def single(pixels: jax.Array, content: dict[str, jax.Array], mask: jax.Array) -> tuple[jax.Array, Terms]:
        return stylization_loss(vgg, Targets(dict(grams), content), mask, layers, pixels, weights)

    return jax.tree.map(jnp.mean, jax.vmap(single)(pixels, contents, masks))
