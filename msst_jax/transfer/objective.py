"""One scale of a photo as an objective: (pixels, weights) to the loss and its terms."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from msst_jax.errors import UserError
from msst_jax.losses.guidance import Guidance
from msst_jax.losses.guided_objective import guidance_of_masks, guided_features, guided_stylization_loss
from msst_jax.losses.objective import (
    FeatureLayers,
    Features,
    LossWeights,
    Targets,
    Terms,
    loss_features,
    mixed_style_targets,
    stylization_loss,
)
from msst_jax.losses.tiled import (
    tiled_content_targets,
    tiled_guided_loss,
    tiled_style_targets,
    tiled_stylization_loss,
)
from msst_jax.models.precision import compute_dtype
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.device_split import place_everywhere
from msst_jax.ops.image import composite, resize
from msst_jax.ops.picture_split import PictureSplit, place_pictures, split_of
from msst_jax.optim.programs import bind
from msst_jax.transfer.inputs import PhotoInputs
from msst_jax.transfer.kept import KeptPhoto, kept_photo, put_back
from msst_jax.transfer.options import NetworkOptions, StylizationOptions
from msst_jax.transfer.photo_colors import with_photo_colors
from msst_jax.transfer.tiling import stores_content

ExtraLoss = Callable[[jax.Array, jax.Array, Features], jax.Array | Mapping[str, jax.Array]]
"""extra_loss(pixels, result, features) -> weighted scalar or {name: weighted scalar}, added to the loss of the method.

pixels (I, H, W, 3) are the I optimized images, see `StylizationOptions.image_count`, and result (H, W, 3) is what they
are composited to, all in [0, 1]; features are those that the loss of the method has computed of both, see `Features`. A
scalar is recorded as the term "extra". Optimizations share their programs only if it has a hash, as functions do.
"""
EXTRA_TERM = "extra"


class _NotKept(dict[str, jax.Array]):
    """In place of features that an evaluation does not keep."""

    def __missing__(self, layer: str) -> jax.Array:
        raise UserError(
            f"extra_loss reads the features of {layer}, which config.remat=True does not keep; leave remat out"
        )


class Cut(NamedTuple):
    """Into what parts the evaluations of a guided loss cut the picture.

    Attributes:
      tiles: windows of rows, one after the other; 1 = none.
      split: strips on several devices; None = none. Where there are some, there are no tiles.
    """

    tiles: int
    split: PictureSplit | None


class SceneStyle(NamedTuple):
    """The paintings of a region at one scale, and their shares in its style."""

    paintings: tuple[jax.Array, ...]
    shares: tuple[float, ...]


class Scene(NamedTuple):
    """Photo, masks and styles at one scale, on the device."""

    photo: jax.Array
    masks: jax.Array
    """(H, W, K) of all regions."""
    styles: tuple[SceneStyle, ...]
    """Of the S regions that have one."""
    styled: tuple[int, ...]
    """The indices of these regions."""
    kept: KeptPhoto | None


def load_loss_network(options: NetworkOptions) -> tuple[VGG, Path]:
    """The VGG of the losses, as deep as its layers, and the file of its weights.

    Raises:
      UserError: weights that are missing, damaged or not deep enough.
    """
    return load_vgg(
        options.name,
        [*options.layers.style, *options.layers.content],
        pooling=options.pooling,
        padding=options.padding,
        dtype=compute_dtype(options.dtype),
        path=options.weights,
    )


def scale_scene(inputs: PhotoInputs, scale: float) -> Scene:
    """The inputs on the device, every side multiplied by `scale`."""

    def shrink(image: np.ndarray) -> jax.Array:
        if scale == 1:
            return jnp.asarray(image)
        height, width = image.shape[:2]
        return resize(jnp.asarray(image), round(height * scale), round(width * scale))

    photo, masks = shrink(inputs.photo), shrink(inputs.masks)
    styles = tuple(
        SceneStyle(tuple(shrink(painting.image) for painting in region.paintings), region.shares)
        for region in (inputs.regions[index] for index in inputs.styled)
    )
    return Scene(photo, masks, styles, inputs.styled, kept_photo(photo, masks, inputs.kept))


def compose(options: StylizationOptions, inputs: PhotoInputs, pixels: jax.Array) -> jax.Array:
    """The result (H, W, 3) of images (I, H, W, 3): the single one or the composite, with what is kept of the photo."""
    image = pixels[0] if options.guided else composite(pixels, jnp.asarray(inputs.masks))
    return finish(options, inputs, image)


def finish(options: StylizationOptions, inputs: PhotoInputs, image: jax.Array) -> jax.Array:
    """A stylized image (H, W, 3) with what its regions keep of the photo: its colors, or all of it."""
    photo, masks = jnp.asarray(inputs.photo), jnp.asarray(inputs.masks)
    colored = with_photo_colors(image, photo, masks, inputs.names, options.keep_colours)
    return put_back(colored, kept_photo(photo, masks, inputs.kept))


def build_objective(
    options: StylizationOptions,
    vgg: VGG,
    scene: Scene,
    weights: LossWeights,
    extra_loss: ExtraLoss | None = None,
    tiles: int = 0,
) -> tuple[Partial, LossWeights]:
    """The arguments `loss(pixels, run)` and `runs` of `optim.minimize` for one scene.

    The large arrays are arguments of the Partial, so that they stay out of the compiled program.
    `weights` has a leading axis of B runs; the weights returned are those for the size of the scene.
    `tiles` are the windows of rows; 0 = as many as the options say, one if they leave it open.
    A scene on several devices, see `ops.picture_split`, has its objective there; it is not cut into tiles.
    """
    layers, tiles, split = options.layers, tiles or options.tiles or 1, split_of(scene.photo)
    vgg = place_everywhere(vgg, split)
    grams = _scene_grams(vgg, scene, layers, tiles)
    grams = place_everywhere(jax.tree.map(lambda *values: jnp.concatenate(values), *grams), split)
    targets = _photo_targets(options, vgg, scene, tiles)._replace(grams=grams)
    if options.tv_per_pixel:
        weights = weights.with_tv_per_pixel(*scene.photo.shape[:2])
    weights = place_everywhere(weights, split)
    if options.guided:
        guidance = _styled_guidance(_scene_guidance(vgg, scene.masks, layers), scene.styled)
        loss = bind(_guided_objective, layers, extra_loss, Cut(tiles, split))
        return Partial(loss, vgg, targets, guidance, scene.kept), weights
    return Partial(bind(_objective, layers, extra_loss, options.remat, tiles), vgg, targets, scene.masks), weights


def build_separate_objective(
    options: StylizationOptions, vgg: VGG, scene: Scene, tiles: int = 0
) -> tuple[Partial, dict[str, jax.Array]]:
    """As `build_objective`, for each style alone on the whole photo: style and content loss, K runs of one image.

    The runs are the Gram matrices {layer: (K, 1, C, C)} of the styles.
    """
    layers, weights, tiles = options.layers, options.weights(0.0)._replace(tv=0.0), tiles or options.tiles or 1
    split = split_of(scene.photo)
    vgg = place_everywhere(vgg, split)
    grams = _scene_grams(vgg, scene, layers, tiles)
    photo = _photo_targets(options, vgg, scene, tiles)
    whole = place_pictures(jnp.ones_like(scene.masks[..., :1]), split)
    if options.guided:
        guidance = _scene_guidance(vgg, whole, layers)
        loss = Partial(bind(_separate_guided, layers, weights, Cut(tiles, split)), vgg, photo, guidance)
    else:
        loss = Partial(bind(_separate_objective, layers, weights, options.remat, tiles), vgg, photo, whole)
    return loss, place_everywhere(jax.tree.map(lambda *values: jnp.stack(values), *grams), split)


def _scene_grams(vgg: VGG, scene: Scene, layers: FeatureLayers, tiles: int) -> list[dict[str, jax.Array]]:
    """The Gram matrices {layer: (1, C, C)} of each style."""
    return [
        mixed_style_targets(
            [_style_targets(vgg, image, layers.style, tiles) for image in style.paintings], style.shares
        )
        for style in scene.styles
    ]


def _photo_targets(options: StylizationOptions, vgg: VGG, scene: Scene, tiles: int) -> Targets:
    """The targets of the photo, without any style's, where it is."""
    if not stores_content(options, scene.photo.shape[0], tiles):
        return Targets({}, {}, scene.photo)
    features = _content_targets(vgg, scene.photo, options.layers.content, tiles)
    return Targets({}, place_pictures(features, split_of(scene.photo)))


def _scene_guidance(vgg: VGG, masks: jax.Array, layers: FeatureLayers) -> Guidance:
    """The guidance of masks (H, W, K), where they are."""
    guidance, split = _guidance(vgg, masks, layers.style), split_of(masks)
    return Guidance(place_pictures(guidance.guides, split), place_everywhere(guidance.weights, split))


def _objective(
    layers: FeatureLayers,
    extra_loss: ExtraLoss | None,
    remat: bool,
    tiles: int,
    vgg: VGG,
    targets: Targets,
    masks: jax.Array,
    pixels: jax.Array,
    weights: LossWeights,
) -> tuple[jax.Array, Terms]:
    if extra_loss is None:
        return _stylization_loss(vgg, targets, masks, layers, pixels, weights, remat, tiles)
    result = composite(pixels, masks)
    # Of the whole picture, also beside tiles: the compiler drops what extra_loss does not read.
    features = None if remat and tiles == 1 else loss_features(vgg, layers, pixels, result)
    loss = _stylization_loss(vgg, targets, masks, layers, pixels, weights, remat, tiles, features)
    return _add_terms(loss, extra_loss(pixels, result, features or Features(_NotKept(), _NotKept())))


def _stylization_loss(
    vgg: VGG,
    targets: Targets,
    masks: jax.Array,
    layers: FeatureLayers,
    pixels: jax.Array,
    weights: LossWeights,
    remat: bool,
    tiles: int,
    features: Features | None = None,
) -> tuple[jax.Array, Terms]:
    """`stylization_loss` in one of its ways; the features, if known, are those of the whole."""
    if tiles > 1:
        return tiled_stylization_loss(vgg, targets, masks, layers, pixels, weights, tiles=tiles)
    return stylization_loss(vgg, targets, masks, layers, pixels, weights, remat=remat, features=features)


def _guided_objective(
    layers: FeatureLayers,
    extra_loss: ExtraLoss | None,
    cut: Cut,
    vgg: VGG,
    targets: Targets,
    guidance: Guidance,
    kept: KeptPhoto | None,
    pixels: jax.Array,
    weights: LossWeights,
) -> tuple[jax.Array, Terms]:
    result = put_back(pixels[0], kept)
    if extra_loss is None:
        return _guided_loss(vgg, targets, guidance, layers, result, weights, cut)
    # Of the whole picture, also beside tiles: the compiler drops what extra_loss does not read.
    features = guided_features(vgg, layers, result)
    loss = _guided_loss(vgg, targets, guidance, layers, result, weights, cut, features)
    return _add_terms(loss, extra_loss(pixels, result, features))


def _guided_loss(
    vgg: VGG,
    targets: Targets,
    guidance: Guidance,
    layers: FeatureLayers,
    image: jax.Array,
    weights: LossWeights,
    cut: Cut,
    features: Features | None = None,
) -> tuple[jax.Array, Terms]:
    """`guided_stylization_loss` in one of its ways; the features, if known, are those of the whole."""
    if cut.tiles > 1:
        return tiled_guided_loss(vgg, targets, guidance, layers, image, weights, tiles=cut.tiles)
    return guided_stylization_loss(vgg, targets, guidance, layers, image, weights, features=features, split=cut.split)


def _styled_guidance(guidance: Guidance, styled: tuple[int, ...]) -> Guidance:
    """The guidance of the regions that have a style; their weights are those of a photo where all have one."""
    if len(styled) == next(iter(guidance.weights.values())).shape[-1]:
        return guidance
    return jax.tree.map(lambda values: values[..., jnp.asarray(styled)], guidance)


def _add_terms(loss: tuple[jax.Array, Terms], extra: jax.Array | Mapping[str, jax.Array]) -> tuple[jax.Array, Terms]:
    total, terms = loss
    extra = dict(extra) if isinstance(extra, Mapping) else {EXTRA_TERM: extra}
    for name, value in extra.items():
        _check_term(name, value)
    if taken := extra.keys() & terms.keys():
        raise UserError(f"extra_loss returns {', '.join(taken)}; those terms are the method's: use other names")
    return total + sum(extra.values()), {**terms, **extra}


def _check_term(name: Any, value: Any) -> None:
    """Raises UserError unless it is a named, real scalar."""
    if not isinstance(name, str):
        raise UserError(f"extra_loss returns a term called {name!r}; call it by a text")
    if not isinstance(value, int | float | np.ndarray | np.generic | jax.Array) or jnp.iscomplexobj(value):
        kind = type(value).__name__
        raise UserError(f"extra_loss returns {name!r} of the type {kind}; return a scalar, or {{name: scalar}}")
    if jnp.shape(value):
        raise UserError(
            f"extra_loss returns {name!r} of shape {jnp.shape(value)}; a term is a scalar: take its mean or sum"
        )


def _separate_objective(
    layers: FeatureLayers,
    weights: LossWeights,
    remat: bool,
    tiles: int,
    vgg: VGG,
    photo: Targets,
    whole: jax.Array,
    pixels: jax.Array,
    grams: dict[str, jax.Array],
) -> tuple[jax.Array, Terms]:
    return _stylization_loss(vgg, photo._replace(grams=grams), whole, layers, pixels, weights, remat, tiles)


def _separate_guided(
    layers: FeatureLayers,
    weights: LossWeights,
    cut: Cut,
    vgg: VGG,
    photo: Targets,
    whole: Guidance,
    pixels: jax.Array,
    grams: dict[str, jax.Array],
) -> tuple[jax.Array, Terms]:
    return _guided_loss(vgg, photo._replace(grams=grams), whole, layers, pixels[0], weights, cut)


_style_targets = jax.jit(tiled_style_targets, static_argnums=(2, 3))
_content_targets = jax.jit(tiled_content_targets, static_argnums=(2, 3))
_guidance = jax.jit(guidance_of_masks, static_argnums=2)
