"""One scale of a photo as an objective: (pixels, weights) to the loss and its terms."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from msst_jax.losses.guidance import Guidance
from msst_jax.losses.guided_objective import guidance_of_masks, guided_stylization_loss
from msst_jax.losses.objective import (
    FeatureLayers,
    LossWeights,
    Targets,
    Terms,
    content_targets,
    style_targets,
    stylization_loss,
)
from msst_jax.models.precision import compute_dtype
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, resize
from msst_jax.transfer.inputs import PhotoInputs
from msst_jax.transfer.options import NetworkOptions, StylizationOptions

ExtraLoss = Callable[[jax.Array, jax.Array], Terms]
"""extra_loss(pixels (I, H, W, 3), result (H, W, 3)) -> {name: weighted scalar}, added to the loss of the method.

I is the number of optimized images, see `StylizationOptions.image_count`.
"""


class Scene(NamedTuple):
    """Photo, masks and styles at one scale, on the device."""

    photo: jax.Array
    masks: jax.Array
    styles: tuple[jax.Array, ...]


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

    return Scene(shrink(inputs.photo), shrink(inputs.masks), tuple(shrink(region.style) for region in inputs.regions))


def compose(options: StylizationOptions, pixels: jax.Array, masks: jax.Array) -> jax.Array:
    """The result (H, W, 3) of images (I, H, W, 3): the single one, or the composite by masks (H, W, K)."""
    return pixels[0] if options.guided else composite(pixels, masks)


def build_objective(
    options: StylizationOptions, vgg: VGG, scene: Scene, weights: LossWeights, extra_loss: ExtraLoss | None = None
) -> tuple[Partial, LossWeights]:
    """The arguments `loss(pixels, run)` and `runs` of `optim.minimize` for one scene.

    The large arrays are arguments of the Partial, so that they stay out of the compiled program.
    `weights` has a leading axis of B runs; the weights returned are those for the size of the scene.
    """
    layers = options.layers
    grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
    targets = Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        _content_targets(vgg, scene.photo, layers.content),
    )
    if options.tv_per_pixel:
        weights = weights.with_tv_per_pixel(*scene.photo.shape[:2])
    if options.guided:
        guidance = _guidance(vgg, scene.masks, layers.style)
        return Partial(partial(_guided_objective, layers, extra_loss), vgg, targets, guidance), weights
    return Partial(partial(_objective, layers, extra_loss, options.remat), vgg, targets, scene.masks), weights


def build_separate_objective(
    options: StylizationOptions, vgg: VGG, scene: Scene
) -> tuple[Partial, dict[str, jax.Array]]:
    """As `build_objective`, for each style alone on the whole photo: style and content loss, K runs of one image.

    The runs are the Gram matrices {layer: (K, 1, C, C)} of the styles.
    """
    layers, weights = options.layers, options.weights(0.0)._replace(tv=0.0)
    grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
    content = _content_targets(vgg, scene.photo, layers.content)
    whole = jnp.ones_like(scene.masks[..., :1])
    loss = Partial(partial(_separate_objective, layers, weights, options.remat), vgg, content, whole)
    return loss, jax.tree.map(lambda *values: jnp.stack(values), *grams)


def _objective(
    layers: FeatureLayers,
    extra_loss: ExtraLoss | None,
    remat: bool,
    vgg: VGG,
    targets: Targets,
    masks: jax.Array,
    pixels: jax.Array,
    weights: LossWeights,
) -> tuple[jax.Array, Terms]:
    loss = stylization_loss(vgg, targets, masks, layers, pixels, weights, remat=remat)
    return _add_terms(loss, extra_loss(pixels, composite(pixels, masks))) if extra_loss else loss


def _guided_objective(
    layers: FeatureLayers,
    extra_loss: ExtraLoss | None,
    vgg: VGG,
    targets: Targets,
    guidance: Guidance,
    pixels: jax.Array,
    weights: LossWeights,
) -> tuple[jax.Array, Terms]:
    loss = guided_stylization_loss(vgg, targets, guidance, layers, pixels[0], weights)
    return _add_terms(loss, extra_loss(pixels, pixels[0])) if extra_loss else loss


def _add_terms(loss: tuple[jax.Array, Terms], extra: Terms) -> tuple[jax.Array, Terms]:
    total, terms = loss
    if taken := extra.keys() & terms.keys():
        raise ValueError(f"extra_loss returns {', '.join(taken)}; those terms are the method's: use other names")
    return total + sum(extra.values()), {**terms, **extra}


def _separate_objective(
    layers: FeatureLayers,
    weights: LossWeights,
    remat: bool,
    vgg: VGG,
    content: dict[str, jax.Array],
    whole: jax.Array,
    pixels: jax.Array,
    grams: dict[str, jax.Array],
) -> tuple[jax.Array, Terms]:
    return stylization_loss(vgg, Targets(grams, content), whole, layers, pixels, weights, remat=remat)


_style_targets = jax.jit(style_targets, static_argnums=2)
_content_targets = jax.jit(content_targets, static_argnums=2)
_guidance = jax.jit(guidance_of_masks, static_argnums=2)
