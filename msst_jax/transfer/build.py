"""From a config to the layers, weights, network and optimizer of the losses."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import optax
from ml_collections import ConfigDict

from msst_jax.losses import objective as losses
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.optim.lbfgs import torch_lbfgs
from msst_jax.optim.preconditioner import power_law_preconditioner
from msst_jax.presets.validation import compute_dtype


def build_layers(config: ConfigDict) -> losses.FeatureLayers:
    """The layers and factors that a config names."""
    return losses.FeatureLayers(
        tuple(config.style_layers),
        tuple(config.content_layers),
        tuple(config.style_layer_weights) or (1.0,) * len(config.style_layers),
        tuple(config.content_layer_weights) or (1.0,) * len(config.content_layers),
    )


def build_weights(config: ConfigDict, blend_ratio: float) -> losses.LossWeights:
    """The four factors of the loss for one blend ratio."""
    blend_weight = blend_ratio * config.style_weight
    return losses.LossWeights(config.style_weight, blend_weight, config.content_weight, config.tv_weight)


def load_loss_network(config: ConfigDict) -> tuple[VGG, Path]:
    """The network that a config names, as deep as its layers, and the file of its weights.

    Raises:
      UserError: weights that are missing, damaged or not deep enough.
    """
    layers = build_layers(config)
    return load_vgg(
        config.network,
        [*layers.style, *layers.content],
        pooling=config.pooling,
        padding=config.padding,
        dtype=compute_dtype(config.dtype),
        path=Path(config.weights) if config.weights else None,
    )


def evaluations_per_scale(config: ConfigDict) -> list[int]:
    """Evaluations at each scale; they add up to `steps`, or to the next multiple above it.

    The last scale gets at least one; a coarser one may get none and is then left out.
    """
    total = config.steps
    if config.steps_multiple:
        total = (config.steps // config.steps_multiple + 1) * config.steps_multiple
    ends = [round(total * share) for share in np.cumsum(config.scale_steps) / np.sum(config.scale_steps)]
    starts = [min(start, total - 1) for start in [0, *ends]]
    return [end - start for start, end in zip(starts[:-1], [*starts[1:-1], total], strict=True)]


def build_optimizer(config: ConfigDict, evaluations: int) -> optax.GradientTransformation:
    """The transformation that a config names.

    L-BFGS keeps no more history than it can fill: at 512x512 each pair takes 12 MB for two images.
    """
    if config.optimizer == "adam":
        return optax.adam(config.learning_rate or 0.02)
    return torch_lbfgs(
        config.learning_rate or 1.0,
        min(config.history, evaluations),
        config.max_step or math.inf,
        partial(power_law_preconditioner, power=config.precondition) if config.precondition else None,
    )
