"""Checks the numbers of a config before any work begins."""

import math
from typing import Any

from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.models.vgg import BLOCKS, POOLINGS

CHOICES: dict[str, tuple[Any, ...]] = {
    "network": tuple(BLOCKS),
    "pooling": tuple(POOLINGS),
    "dtype": ("float32", "bfloat16"),
    "init": ("content", "noise"),
    "keep": ("best", "last"),
    "optimizer": ("lbfgs", "adam"),
}
NOT_NEGATIVE = ("size", "feather", "style_weight", "blend_ratio", "content_weight", "tv_weight", "steps_multiple")
POSITIVE = ("steps", "style_scale", "learning_rate", "history")


def check_config(config: ConfigDict) -> None:
    """Refuses values that cannot work.

    Raises:
      UserError: names the field, what was found and what is allowed.
    """
    for field, allowed in CHOICES.items():
        if config[field] not in allowed:
            raise UserError(f"config.{field} is {config[field]!r}; use one of {', '.join(map(str, allowed))}")
    for field in (*NOT_NEGATIVE, *POSITIVE):
        check_number(f"config.{field}", config[field], positive=field in POSITIVE)
    for kind in ("style", "content"):
        _check_layers(config, kind)
    if len(config.scales) != len(config.scale_steps) or not config.scales:
        raise UserError(f"config.scales has {len(config.scales)} values, config.scale_steps {len(config.scale_steps)}")
    for field in ("scales", "scale_steps"):
        for value in config[field]:
            check_number(f"config.{field}", value, positive=True)
    if config.scales[-1] != 1.0:
        raise UserError(f"config.scales ends with {config.scales[-1]}; the last scale must be 1.0, the full size")


def check_number(name: str, value: float, *, positive: bool = False) -> None:
    """Raises UserError unless `value` is finite and not negative (or above zero, if `positive`)."""
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UserError(f"{name} is {value}; it must be {'above zero' if positive else 'zero or more'}")


def _check_layers(config: ConfigDict, kind: str) -> None:
    layers, weights = config[f"{kind}_layers"], config[f"{kind}_layer_weights"]
    if not layers or len(set(layers)) != len(layers):
        raise UserError(f"config.{kind}_layers is {layers}; name at least one layer, each once")
    if weights and len(weights) != len(layers):
        raise UserError(f"config.{kind}_layer_weights has {len(weights)} values for {len(layers)} layers; give as many")
    for weight in weights:
        check_number(f"config.{kind}_layer_weights", weight)
