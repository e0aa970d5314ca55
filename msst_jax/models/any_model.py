"""A fast model for any painting with some paintings: the fast model of a fixed set of styles that it makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from msst_jax.models.architecture import abstract_architecture
from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.models.style_predictor import LAYERS, style_moments
from msst_jax.models.vgg import VGG
from msst_jax.registry import ARCHITECTURE

PAINTING_SCALES = (1.1, 2.4)
"""Between these the longest side of a painting lies in the training, as a multiple of the side of the views of it."""


class StyleSource(NamedTuple):
    """What a region takes its style from."""

    name: str
    """Of the files, for the record."""
    images: Sequence[np.ndarray]
    """Paintings (h, w, 3) in [0, 1], whose longest side is `painting_side`."""
    shares: Sequence[float]
    """Of each painting, of sum 1: the style is that of paintings side by side with these areas."""


def painting_side(model: FeedforwardModel) -> int:
    """The longest side in pixels at which the model should see a painting."""
    return round(sum(PAINTING_SCALES) / 2 * model.training["style_size"])


def load_predictor_vgg() -> VGG:
    """The embedded VGG-16, as deep as the predictor looks."""
    return load_vgg("vgg16", LAYERS, padding="replicate", path=EMBEDDED_VGG16)[0]


def with_paintings(model: FeedforwardModel, sources: Mapping[str, StyleSource]) -> FeedforwardModel:
    """The model for some paintings: its transfer network with the style vectors that its predictor gives them.

    Args:
      model: for any painting.
      sources: {region: its paintings}.
    """
    vgg = load_predictor_vgg()
    network: Any = model.network  # an AnyStylizer
    moments = [
        sum(share * _moments(vgg, jnp.asarray(image)) for image, share in zip(each.images, each.shares, strict=True))
        for each in sources.values()
    ]
    stylizer: Any = abstract_architecture(ARCHITECTURE, len(sources), model.training, network.transfer.dtype)
    stylizer.transfer = network.transfer
    stylizer.table = nnx.Param(network.predictor(jnp.stack(moments)))
    names = tuple(each.name for each in sources.values())
    return model._replace(network=stylizer, regions=tuple(sources), styles=names, architecture=ARCHITECTURE)


@jax.jit
def _moments(vgg: VGG, painting: jax.Array) -> jax.Array:
    return style_moments(vgg, painting)
