"""The losses and their targets for pictures of any size: exact, by windows of rows that go through VGG one at a time.

Loss and gradient equal those of the whole picture up to rounding. An evaluation computes the features of the style
twice, and those of the rows in which windows overlap once more; what it takes of memory goes with the window, not with
the picture. The features of the photo, which grow with the picture, can be computed for each window too: see `Targets`.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from msst_jax.losses.functional import guided_area, guided_products, square_difference, style_distances
from msst_jax.losses.guidance import Guidance
from msst_jax.losses.guided_objective import guided_distances, guided_stylization_loss
from msst_jax.losses.objective import (
    FeatureLayers,
    LossWeights,
    Targets,
    Terms,
    content_targets,
    content_terms,
    sequential_terms,
    smoothness_term,
    style_targets,
    style_terms,
    stylization_loss,
    sum_terms,
)
from msst_jax.losses.windowed import Statistics, no_terms, windowed_sums, windowed_terms
from msst_jax.models.vgg import VGG, deepest_of, layer_reach, layer_stride, taps_to
from msst_jax.ops.image import composite, normalize
from msst_jax.ops.row_windows import RowWindows, cut_rows

Sums = tuple[dict[str, jax.Array], dict[str, jax.Array]]
"""{style layer: products of the features} and {content layer: squares of their differences}, each a sum."""


def feature_windows(taps: Sequence[str], layers: Sequence[str], height: int, tiles: int) -> RowWindows:
    """The windows of a picture for the features of some layers of a network with such taps; see `cut_rows`."""
    until = taps_to(taps, deepest_of(taps, layers))
    return cut_rows(height, tiles, reach=layer_reach(until), stride=layer_stride(until))


def tiled_stylization_loss(
    vgg: VGG,
    targets: Targets,
    masks: jax.Array,
    layers: FeatureLayers,
    pixels: jax.Array,
    weights: LossWeights,
    *,
    tiles: int,
) -> tuple[jax.Array, Terms]:
    """`stylization_loss` by windows of rows, of which each of the images and then the composite has about `tiles`.

    Only the loss is differentiable, only in `pixels`, and only once. Arguments as there.
    """
    height = pixels.shape[1]
    style_windows = feature_windows(vgg.taps, layers.style, height, tiles)
    content_windows = feature_windows(vgg.taps, layers.content, height, tiles)
    if style_windows.count == content_windows.count == 1:
        return stylization_loss(vgg, _with_content(vgg, targets, layers), masks, layers, pixels, weights)
    result = composite(pixels, masks)
    sizes = _feature_sizes(vgg, [*layers.style, *layers.content], pixels.shape[1:])

    def style(products: Mapping[str, jax.Array]) -> tuple[jax.Array, Terms]:
        grams = {layer: products[layer][:, 0] / sizes[layer] for layer in layers.style}
        distances = {layer: style_distances(gram, targets.grams[layer]) for layer, gram in grams.items()}
        return style_terms(distances, layers, weights)

    content = partial(_content_terms, sizes, layers, weights)
    of_style = _style_statistics(vgg, style_windows, layers.style)
    of_content = _statistics(vgg, content_windows, {}, targets, layers.content)
    summands = sequential_terms(
        [
            (partial(windowed_terms, of_style, style, no_terms, style_windows), pixels),
            (partial(windowed_terms, of_content, no_terms, content, content_windows), result[None]),
        ]
    )
    return sum_terms([*summands, smoothness_term(weights, normalize(result))])


def tiled_guided_loss(
    vgg: VGG,
    targets: Targets,
    guidance: Guidance,
    layers: FeatureLayers,
    image: jax.Array,
    weights: LossWeights,
    *,
    tiles: int,
) -> tuple[jax.Array, Terms]:
    """`guided_stylization_loss` by about `tiles` windows of rows.

    Only the loss is differentiable, only in the image, and only once. Arguments as there.
    """
    used = [*layers.style, *layers.content]
    windows = feature_windows(vgg.taps, used, image.shape[0], tiles)
    if windows.count == 1:
        return guided_stylization_loss(vgg, _with_content(vgg, targets, layers), guidance, layers, image, weights)
    sizes = _feature_sizes(vgg, layers.content, image.shape)

    def style(products: Mapping[str, jax.Array]) -> tuple[jax.Array, Terms]:
        grams = {
            layer: products[layer][0] / guided_area(guidance.guides[layer], products[layer].shape[-1])
            for layer in layers.style
        }
        return style_terms(guided_distances(grams, targets.grams, guidance), layers, weights)

    content = partial(_content_terms, sizes, layers, weights)
    statistics = _statistics(vgg, windows, guidance.guides, targets, layers.content)
    return sum_terms(
        [windowed_terms(statistics, style, content, windows, image[None]), smoothness_term(weights, normalize(image))]
    )


def tiled_style_targets(vgg: VGG, style: jax.Array, layers: Sequence[str], tiles: int) -> dict[str, jax.Array]:
    """`style_targets` by about `tiles` windows of rows."""
    windows = feature_windows(vgg.taps, layers, style.shape[0], tiles)
    if windows.count == 1:
        return style_targets(vgg, style, layers)
    sizes = _feature_sizes(vgg, layers, style.shape)
    statistics = _style_statistics(vgg, windows, layers)
    products = windowed_sums(lambda rows, number: statistics(rows, number)[0], windows, style[None])
    return {layer: products[layer][:, 0] / sizes[layer] for layer in layers}


def tiled_content_targets(vgg: VGG, content: jax.Array, layers: Sequence[str], tiles: int) -> dict[str, jax.Array]:
    """`content_targets` by about `tiles` windows of rows."""
    windows = feature_windows(vgg.taps, layers, content.shape[0], tiles)
    if windows.count == 1:
        return content_targets(vgg, content, layers)
    strides = {layer: layer_stride(taps_to(vgg.taps, layer)) for layer in layers}
    whole = jax.eval_shape(lambda image: content_targets(vgg, image, layers), content)

    def put(number: jax.Array, made: dict[str, jax.Array]) -> dict[str, jax.Array]:
        features = content_targets(vgg, windows.take(content, number), layers)
        return {
            layer: _put_owned(windows, made[layer][0], value[0], number, strides[layer])[None]
            for layer, value in features.items()
        }

    none = {layer: jnp.zeros(value.shape, value.dtype) for layer, value in whole.items()}
    return jax.lax.fori_loop(0, windows.count, put, none)


def _put_owned(windows: RowWindows, whole: jax.Array, rows: jax.Array, number: jax.Array, stride: int) -> jax.Array:
    """Features (H', W', C) with the rows of a window that are its own replaced."""
    owned = windows.owned(number, stride)[:, None, None]
    return windows.put(whole, jnp.where(owned, rows, windows.take(whole, number, stride)), number, stride)


def _style_statistics(vgg: VGG, windows: RowWindows, layers: Sequence[str]) -> Statistics:
    """`_statistics` of style layers alone, every pixel of which counts alike."""
    return _statistics(vgg, windows, dict.fromkeys(layers), Targets({}, {}), ())


def _statistics(
    vgg: VGG,
    windows: RowWindows,
    guides: Mapping[str, jax.Array | None],
    targets: Targets,
    contents: Sequence[str],
) -> Statistics:
    """What a window contributes: {style layer: products of features}, {content layer: sum of square differences}.

    Args:
      vgg: the network.
      windows: of the picture.
      guides: {style layer: (H', W', K)}; None counts every pixel alike, K = 1.
      targets: of the photo.
      contents: the content layers.
    """
    strides = {layer: layer_stride(taps_to(vgg.taps, layer)) for layer in [*guides, *contents]}

    def targets_of(number: jax.Array) -> Mapping[str, jax.Array]:
        if targets.photo is not None and contents:
            return content_targets(vgg, windows.take(targets.photo, number), contents)
        return {layer: windows.take(targets.content[layer][0], number, strides[layer])[None] for layer in contents}

    def statistics(rows: jax.Array, number: jax.Array) -> Sums:
        features = vgg(normalize(rows)[None], [*strides])
        owned = {layer: windows.owned(number, stride)[:, None, None] for layer, stride in strides.items()}
        products, squares = {}, {}
        for layer, guide in guides.items():
            value = features[layer][0]
            weights = owned[layer] if guide is None else owned[layer] * windows.take(guide, number, strides[layer])
            weights = jnp.broadcast_to(weights, (*value.shape[:2], weights.shape[-1])).astype(jnp.float32)
            products[layer] = guided_products(value, weights)
        for layer, target in targets_of(number).items():
            squares[layer] = jnp.sum(square_difference(features[layer], target) * owned[layer])
        return products, squares

    return statistics


def _with_content(vgg: VGG, targets: Targets, layers: FeatureLayers) -> Targets:
    """The targets with the features of the photo."""
    if targets.photo is None:
        return targets
    return Targets(targets.grams, content_targets(vgg, targets.photo, layers.content))


def _content_terms(
    sizes: Mapping[str, float], layers: FeatureLayers, weights: LossWeights, squares: Mapping[str, jax.Array]
) -> tuple[jax.Array, Terms]:
    """The content term of a single image, from its sums of squares {content layer: (1,)}."""
    # In the order of the layers' factors.
    losses = {layer: squares[layer][0] / sizes[layer] for layer in layers.content}
    return content_terms(losses, layers, weights)


def _feature_sizes(vgg: VGG, layers: Sequence[str], shape: Sequence[int]) -> dict[str, float]:
    """H' W' C of the features of an image (H, W, 3), {layer: as a float}: as an integer it may be beyond int32."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return {layer: float(value.size) for layer, value in jax.eval_shape(lambda x: vgg(x, layers), image).items()}
