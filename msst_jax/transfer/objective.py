"""One scale of a photo as an objective: (pixels, weights) to the loss and its terms."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from msst_jax.losses import objective as losses
from msst_jax.models.vgg import VGG
from msst_jax.ops import image as image_ops
from msst_jax.ops.image import resize
from msst_jax.transfer.build import build_layers
from msst_jax.transfer.inputs import PhotoInputs

ExtraLoss = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
"""own_loss(pixels (K, H, W, 3), result (H, W, 3)) -> {name: weighted scalar}, added to the loss of the method."""


class Scene(NamedTuple):
    """Photo, masks and styles at one scale, on the device."""

    photo: jax.Array
    masks: jax.Array
    styles: tuple[jax.Array, ...]


def build_objective(
    config: ConfigDict, vgg: VGG, scene: Scene, weights: losses.LossWeights, own_loss: ExtraLoss | None = None
) -> tuple[Partial, losses.LossWeights]:
    """What `optimize.minimize` takes for one scene: `loss(pixels, run)` and `runs`.

    The large arrays are arguments of the Partial, so that they stay out of the compiled program.
    `weights` has a leading axis of B runs; the weights returned are those for the size of the scene.
    """
    layers = build_layers(config)
    grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
    targets = losses.Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        _content_targets(vgg, scene.photo, layers.content),
    )
    if config.tv_per_pixel:
        height, width = scene.photo.shape[:2]
        weights = weights._replace(tv=weights.tv / (height * width))
    return Partial(partial(_objective, layers, own_loss, config.remat), vgg, targets, scene.masks), weights


def _objective(
    layers: losses.FeatureLayers,
    own_loss: ExtraLoss | None,
    remat: bool,
    vgg: VGG,
    targets: losses.Targets,
    masks: jax.Array,
    pixels: jax.Array,
    weights: losses.LossWeights,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    total, terms = losses.stylization_loss(vgg, targets, masks, layers, pixels, weights, remat=remat)
    if own_loss is None:
        return total, terms
    own = own_loss(pixels, image_ops.composite(pixels, masks))
    if taken := own.keys() & terms.keys():
        raise ValueError(f"own_loss returns {', '.join(taken)}; those terms are the method's: use other names")
    return total + sum(own.values()), {**terms, **own}


def _separate_objective(
    layers: losses.FeatureLayers,
    weights: losses.LossWeights,
    remat: bool,
    vgg: VGG,
    content: dict[str, jax.Array],
    whole: jax.Array,
    pixels: jax.Array,
    grams: dict[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    targets = losses.Targets(grams, content)
    return losses.stylization_loss(vgg, targets, whole, layers, pixels, weights, remat=remat)


_style_targets = jax.jit(losses.style_targets, static_argnums=2)
_content_targets = jax.jit(losses.content_targets, static_argnums=2)


def scale_scene(inputs: PhotoInputs, scale: float) -> Scene:
    """The inputs on the device, every side multiplied by `scale`."""

    def shrink(image: np.ndarray) -> jax.Array:
        if scale == 1:
            return jnp.asarray(image)
        height, width = image.shape[:2]
        return resize(jnp.asarray(image), round(height * scale), round(width * scale))

    return Scene(shrink(inputs.photo), shrink(inputs.masks), tuple(shrink(region.style) for region in inputs.regions))
