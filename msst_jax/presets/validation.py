"""Validation of config values (ranges, choices, types) before any work begins."""

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from msst_jax.errors import UnknownNameError, UserError
from msst_jax.io.images import MIN_SIDE
from msst_jax.models.deeplab import OWN_NETWORKS
from msst_jax.models.precision import PRECISIONS
from msst_jax.models.vgg import BLOCKS, PADDINGS, POOLINGS
from msst_jax.models.voc import CLASSES
from msst_jax.optim.optimizer import HISTORY_DTYPES, OPTIMIZERS
from msst_jax.presets.renamed import RENAMED, describe_renamed
from msst_jax.registry import ARCHITECTURE, BACKGROUND, SEGMENTERS, STYLIZERS, TASKS

STARTS = ("content", "noise")
"""Values of config.init that are no files."""
CHOICES: dict[str, tuple[Any, ...]] = {
    "network": tuple(BLOCKS),
    "pooling": tuple(POOLINGS),
    "padding": PADDINGS,
    "precision": tuple(PRECISIONS),
    "keep": ("best", "last"),
    "optimizer": OPTIMIZERS,
    "history_dtype": tuple(HISTORY_DTYPES),
}
NONNEGATIVE = (
    "size",
    "feather",
    "min_speck",
    "style_weight",
    "blend_ratio",
    "content_weight",
    "tv_weight",
    "steps_multiple",
    "learning_rate",
    "max_step",
    "precondition",
)
POSITIVE = ("steps", "style_scale", "history")
INTEGERS = ("size", "steps", "steps_multiple", "history")
MINIMUMS = {"devices": 0}
VIDEO_MINIMUMS = {"segment_every": 1, "next_steps": 1}
PERCENT = {"feather": "the longest side", "min_speck": "the photo"}
TRAINING_CHOICES: dict[str, tuple[Any, ...]] = {
    "without_mask": ("error", "random", "background"),
    "precision": CHOICES["precision"],
}
TRAINING_MINIMUMS = {  # of integers
    "size": MIN_SIDE,
    "batch": 1,
    "accumulate": 1,
    "workers": 0,
    "seed": 0,
    "steps": 1,
    "warmup": 0,
    "log_every": 1,
    "sample_every": 1,
    "samples": 1,
    "checkpoint_every": 1,
    "keep_last": 1,
    "keep_every": 0,
}
STYLIZER_MINIMUMS = {"width": 1, "blocks": 0, "style_size": 0}
ANY_STYLIZER_MINIMUMS = {"width": 1, "blocks": 0, "style_size": MIN_SIDE, "views": 1}
STYLIZER_MAXIMUMS = {"width": 1024, "blocks": 1024}
MAX_INTEGER = 2**31 - 1  # counts on the device are int32
MAXIMUMS = {"seed": 2**32 - 1}  # it is no count
MAX_CROP = 4.0
TILES = {"auto": 0, "off": 1}
"""Values of config.tiles that are no numbers, and the numbers that they stand for."""
STROKE_SIZES = (0.1, 4.0)  # smaller styles have no strokes left, larger ones more than a layer sees at once
MAX_FLOAT = float(np.finfo(np.float32).max)


def check_config(config: ConfigDict) -> None:
    """Validates a stylization config.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    _check_choices(config, CHOICES)
    _check_segmenter(config)
    _check_init(config)
    _check_numbers(config)
    _check_percents(config)
    _check_stroke_size(config)
    _check_keep_colours(config)
    _check_parts(config)
    _check_minimums(config, VIDEO_MINIMUMS)
    for field in ("mask_smoothing", "picture_smoothing"):
        check_number(f"config.{field}", config[field])
        if config[field] >= 1:
            raise UserError(f"config.{field} is {config[field]}; it must be below 1")
    for kind in ("style", "content"):
        _check_layers(config, kind)
    _check_scales(config)


def _check_parts(config: ConfigDict) -> None:
    """What a picture is cut into: tiles, or strips on devices."""
    _check_minimums(config, MINIMUMS)
    if parse_tiles(config.tiles) > 1 and config.devices != 1:
        raise UserError(
            f"config.devices is {config.devices} and config.tiles {config.tiles}, but a picture on several devices is "
            "not cut into tiles; leave one of them out"
        )


def _check_scales(config: ConfigDict) -> None:
    if not config.scales:
        raise UserError("config.scales is empty; give (1.0,) for the full size alone")
    if config.scale_steps and len(config.scales) != len(config.scale_steps):
        raise UserError(
            f"config.scales has {len(config.scales)} values, config.scale_steps {len(config.scale_steps)}; "
            "give as many, or --config.scale_steps=() for the default shares"
        )
    for field in ("scales", "scale_steps"):
        for value in config[field]:
            check_number(f"config.{field}", value, positive=True)
    if above := [scale for scale in config.scales if scale > 1]:
        raise UserError(f"config.scales has {above[0]}; a scale is a share of the full size, at most 1.0")
    if config.scales[-1] != 1.0:
        raise UserError(f"config.scales ends with {config.scales[-1]}; the last scale must be 1.0, the full size")


def check_training_config(config: ConfigDict) -> None:
    """Validates the config fields that all tasks of train.py share.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    check_task(config)
    _check_choices(config, TRAINING_CHOICES)
    _check_segmenter(config)
    _check_minimums(config, TRAINING_MINIMUMS)
    for field in ("clip", "ema", "colour"):
        check_number(f"config.{field}", config[field])
    for field in ("learning_rate", "smallest_crop", "largest_crop"):
        check_number(f"config.{field}", config[field], positive=True)
    for field in ("smallest_crop", "ema", "colour"):
        if config[field] > 1:
            raise UserError(f"config.{field} is {config[field]}; it must be at most 1")
    if config.largest_crop > MAX_CROP:
        raise UserError(f"config.largest_crop is {config.largest_crop}; it must be at most {MAX_CROP}")
    if config.largest_crop < config.smallest_crop:
        raise UserError(
            f"config.largest_crop is {config.largest_crop}; use at least smallest_crop, {config.smallest_crop}"
        )


def check_stylizer_config(config: ConfigDict) -> None:
    """Validates the config fields of the stylizer task (configs/fast.py), beyond `check_training_config`.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    _check_architecture(config)
    _check_losses(config)
    for factor in config.region_weights:
        check_number("config.region_weights", factor)
    _check_minimums(config, STYLIZER_MINIMUMS)
    if config.style_size and config.style_size < MIN_SIDE:
        raise UserError(f"config.style_size is {config.style_size}; use at least {MIN_SIDE}, or 0 for the file's own")


def _check_losses(config: ConfigDict) -> None:
    """What both tasks of stylizers share."""
    _check_choices(config, {"network": CHOICES["network"]})
    for kind in ("style", "content"):
        _check_layers(config, kind)
    _check_maximums(config, STYLIZER_MAXIMUMS)
    for field in ("style_weight", "blend_ratio", "content_weight", "tv_weight", "temporal_weight"):
        check_number(f"config.{field}", config[field])
    check_number("config.blend_ratio times config.style_weight", config.blend_ratio * config.style_weight)
    if config.largest_crop > 1:
        raise UserError(f"config.largest_crop is {config.largest_crop}; crops must lie within the photo: use at most 1")


def check_any_stylizer_config(config: ConfigDict) -> None:
    """Validates the config fields of the task any_stylizer (configs/any.py), beyond `check_training_config`.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    _check_losses(config)
    _check_minimums(config, ANY_STYLIZER_MINIMUMS)
    regions = config.regions
    named = all(isinstance(name, str) and name and name != BACKGROUND for name in regions)
    if not named or len({*regions}) < len(regions):
        raise UserError(
            f"config.regions is {regions!r}; give the names of masks, each once, without {BACKGROUND}, the rest"
        )
    if not all(isinstance(folder, str) for folder in config.paintings):
        raise UserError(f"config.paintings is {config.paintings!r}; give the paths of folders")


def check_segmenter_config(config: ConfigDict) -> None:
    """Validates the config fields of the task segmenter (configs/segmenter.py), beyond `check_training_config`.

    Raises:
      UserError: names the field, its value and what is allowed.
    """
    _check_choices(config, {"segmenter_network": OWN_NETWORKS})
    check_number("config.encoder_rate", config.encoder_rate)
    known = [name for name in CLASSES if name != BACKGROUND]
    classes = config.classes
    if not classes or len({*classes}) < len(classes) or not {*classes} <= {*known}:
        raise UserError(f"config.classes is {classes!r}; give some of {', '.join(known)}, each once")


def check_fields(config: ConfigDict, default: ConfigDict) -> None:
    """Checks that a config has every field of `default`, each of the same type.

    Raises:
      UserError: names the missing fields, or the one of another type.
    """
    missing = [field for field in default if not hasattr(config, field)]
    for field in RENAMED:
        if RENAMED[field] in missing and hasattr(config, field):
            raise UserError(describe_renamed(field))
    if missing:
        raise UserError(
            f"the config has no field {', '.join(missing)}; derive it from configs/photo.py, or for training from "
            "configs/fast.py, configs/segmenter.py or configs/person_segmenter.py"
        )
    for field, value in default.items():
        expected: Any = Real if type(value) in (int, float) else type(value)
        if not isinstance(config[field], expected):
            raise UserError(f"config.{field} is {config[field]!r}; it must be like {value!r}")


def parse_tiles(value: str | int) -> int:
    """config.tiles as a number of windows; see `StylizationOptions.tiles`.

    Raises:
      UserError: neither a number from 1 on nor one of TILES.
    """
    text = str(value)
    number = TILES.get(text, int(text) if text.isdecimal() else 0)
    if text not in TILES and not 1 <= number <= MAX_INTEGER:
        raise UserError(f"config.tiles is {value!r}; use {', '.join(TILES)}, or a number of windows of rows, such as 4")
    return number


def check_number(name: str, value: float, *, positive: bool = False) -> None:
    """Raises UserError unless `value` is a finite float32 and not negative (or above zero, if `positive`)."""
    if not isinstance(value, Real):
        raise UserError(f"{name} is {value!r}; it must be a number")
    if not 0 <= value <= MAX_FLOAT or (positive and value == 0):
        allowed = f"at most {MAX_FLOAT:.3g}" if value > MAX_FLOAT else "above zero" if positive else "zero or more"
        raise UserError(f"{name} is {value}; it must be {allowed}")


def check_blend(config: ConfigDict, ratio: float) -> None:
    """Raises UserError unless the factor of the blend loss at a ratio is a finite float32."""
    check_number("blend ratio times config.style_weight", ratio * config.style_weight)


def _check_choices(config: ConfigDict, choices: Mapping[str, tuple[Any, ...]]) -> None:
    for field, allowed in choices.items():
        if config[field] not in allowed:
            raise UserError(f"config.{field} is {config[field]!r}; use one of {', '.join(filter(None, allowed))}")


def _check_segmenter(config: ConfigDict) -> None:
    """Checks the name only: the segmenter is loaded when a region needs it."""
    name = config.segmenter
    if name not in (*SEGMENTERS.reserved, *SEGMENTERS.names, "") and not Path(name).expanduser().exists():
        others = SEGMENTERS.alternatives(name, "a workdir of train.py or a weights file")
        raise UnknownNameError(f"config.segmenter is {name!r}; {others}")


def check_task(config: ConfigDict) -> None:
    """Raises UnknownNameError unless config.task is one of the package or registered."""
    if config.task not in (*TASKS.reserved, *TASKS.names):
        raise UnknownNameError(f"config.task is {config.task!r}; {TASKS.alternatives(config.task)}")


def _check_architecture(config: ConfigDict) -> None:
    known = (ARCHITECTURE, *STYLIZERS.names)
    if config.architecture not in known:
        others = STYLIZERS.alternatives(config.architecture)
        raise UnknownNameError(f"config.architecture is {config.architecture!r}; {others}")


def _check_init(config: ConfigDict) -> None:
    if config.init not in STARTS and not Path(config.init).expanduser().exists():
        raise UserError(
            f"config.init is {config.init!r}, and there is no such file; use one of {', '.join(STARTS)}, "
            "or the path of a picture"
        )


def _check_minimums(config: ConfigDict, limits: Mapping[str, int]) -> None:
    for field, minimum in limits.items():
        if not isinstance(config[field], int) or config[field] < minimum:
            raise UserError(f"config.{field} is {config[field]}; it must be an integer of at least {minimum}")
    _check_maximums(config, {field: MAXIMUMS.get(field, MAX_INTEGER) for field in limits})


def _check_maximums(config: ConfigDict, limits: Mapping[str, int]) -> None:
    for field, maximum in limits.items():
        if config[field] > maximum:
            raise UserError(f"config.{field} is {config[field]}; it must be at most {maximum}")


def _check_numbers(config: ConfigDict) -> None:
    for field in (*NONNEGATIVE, *POSITIVE):
        check_number(f"config.{field}", config[field], positive=field in POSITIVE)
    _check_maximums(config, dict.fromkeys(INTEGERS, MAX_INTEGER))


def _check_percents(config: ConfigDict) -> None:
    for field, reference in PERCENT.items():
        if config[field] > 100:
            raise UserError(f"config.{field} is {config[field]} percent of {reference}; use at most 100")


def _check_keep_colours(config: ConfigDict) -> None:
    for name in config.keep_colours:
        if not isinstance(name, str) or not name:
            raise UserError(f"config.keep_colours has {name!r}; use names of regions, or '*' for all")


def _check_stroke_size(config: ConfigDict) -> None:
    check_number("config.stroke_size", config.stroke_size, positive=True)
    smallest, largest = STROKE_SIZES
    if not smallest <= config.stroke_size <= largest:
        raise UserError(f"config.stroke_size is {config.stroke_size}; use {smallest:g} to {largest:g}, 1 = as painted")


def _check_layers(config: ConfigDict, kind: str) -> None:
    layers, weights = config[f"{kind}_layers"], config[f"{kind}_layer_weights"]
    if not layers or len(set(layers)) != len(layers):
        raise UserError(f"config.{kind}_layers is {layers}; name at least one layer, each once")
    if weights and len(weights) != len(layers):
        raise UserError(
            f"config.{kind}_layer_weights has {len(weights)} values for {len(layers)} layers; "
            "give as many, or () for 1 each"
        )
    for weight in weights:
        check_number(f"config.{kind}_layer_weights", weight)
