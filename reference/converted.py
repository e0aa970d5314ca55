"""Loads a torchvision state dict into an msst_jax network."""

from collections.abc import Mapping

import numpy as np

from convert_weights.convert import convert
from convert_weights.networks import NETWORKS
from msst_jax.models.serialization import Model, assign_tensors


def converted(name: str, model: Model, state: Mapping[str, np.ndarray]) -> Model:
    """Fills an abstract network with torchvision's weights, as the converter stores them in float32."""
    tensors = convert(state, NETWORKS[name], deepest=None, dtype=np.float32, origin="torchvision's state dict")
    return assign_tensors(model, tensors, "of torchvision")
