"""Stylizes one photo by optimization, arrays to arrays."""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import UnionType
from typing import Any

import numpy as np
import optax
from absl import logging
from ml_collections import ConfigDict

from msst_jax.api.callbacks import OnPicture, Stop, picture_listener, stop_event
from msst_jax.api.inputs import chosen_size, masks_by_name, photo_inputs
from msst_jax.api.pictures import Picture, PictureLike, take_picture
from msst_jax.api.presets import (
    Preset,
    PresetLike,
    build_config,
    check_callable,
    check_inert,
    positive_integer,
    read_preset,
    recorded_blend,
)
from msst_jax.api.result import Result
from msst_jax.api.styles import StyleLike, check_styles, take_styles
from msst_jax.api.wording import in_callers_words
from msst_jax.errors import DivergenceError, UserError
from msst_jax.models.precision import products_at
from msst_jax.optim.programs import KEPT_PROGRAMS, Programs
from msst_jax.presets.applicability import Run
from msst_jax.presets.validation import STARTS, check_blend, check_number
from msst_jax.regions.masks import all_masked
from msst_jax.regions.own_segmenter import OwnSegmenter
from msst_jax.regions.segmenter import Segmenter
from msst_jax.transfer import optimization
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs
from msst_jax.transfer.kept import KEEP, check_kept, kept_regions
from msst_jax.transfer.objective import ExtraLoss, load_loss_network
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.photo_colors import check_color_regions

MAX_SEED = 2**32 - 1
OPTIMIZER_FIELDS = ("optimizer", "learning_rate", "history", "history_dtype", "max_step", "precondition")

# The one thing that outlives a call: a photo of a size that an earlier one had compiles nothing.
_PROGRAMS = Programs(KEPT_PROGRAMS)


def stylize(
    photo: PictureLike,
    styles: Mapping[str, StyleLike],
    masks: Mapping[str, PictureLike] | None = None,
    *,
    points: Mapping[str, tuple[int, int]] | None = None,
    blend: float | None = None,
    size: int | None = None,
    preset: PresetLike = "photo",
    steps: int | None = None,
    transform: optax.GradientTransformation | None = None,
    extra_loss: ExtraLoss | None = None,
    on_picture: OnPicture | None = None,
    every: int = 20,
    stop: Stop | None = None,
    seed: int | None = None,
    **overrides: Any,
) -> Result:
    """Gives every region of a photo the style of a painting of its own.

    A picture is an array (H, W, 3), uint8 in 0 to 255 or floats in [0, 1]; a Pillow picture; or a path. A call with
    pictures of the same sizes as an earlier one, and the same `extra_loss` and `transform` (the very objects), compiles
    nothing. Ctrl-C ends the optimization like `stop`, if none is given, but finishes a few evaluations at full size.

    Args:
      photo: a picture, with sides of at least 16 pixels.
      styles: {region: style}. A region is a Pascal VOC class ("person", "dog", ...), one of several in the photo by
        its number from the left ("person#1"; "person" is then the rest of them), several joined by +, "background"
        (what no other region claims), or any name that has a mask. A style is a picture; several, as [picture, ...],
        [(picture, weight), ...] or {path: weight}; or "keep", which leaves the region the photo.
      masks: {region: mask}, of any of the regions; the others are segmented. A mask is an array (H, W) as large as
        `photo`, bool, floats in [0, 1] or uint8 (1 or 255 = inside); a Pillow picture; or a path.
      points: {region: (x, y)} in pixels of `photo`, from its top left corner: of such a region only the component that
        lies there is taken.
      blend: ratio of the blend loss to the style loss, 0 or more; None = that of the preset.
      size: longest side of the result in pixels, 0 = that of the photo; None = that of the preset (512), or of the
        photo if it is smaller; of a JSON exactly.
      preset: name of a preset, path of a Python file with `get_config()`, a config derived from a preset, or the path
        of the JSON that a run wrote: its numbers, size, seed, blend and segmenter. The photo, styles and masks that it
        names are not used, since those of the call take their place.
      steps: evaluations of loss and gradient; None = those of the preset.
      transform: an optax transformation in place of the preset's optimizer, such as `optax.adam(schedule)`. Its state
        begins again at each of the scales; `scales=(1.0,)` optimizes at full size alone.
      extra_loss: extra_loss(pixels, result, features) -> a scalar, or {term: scalar}, weighted, which is added to the
        loss. pixels (I, H, W, 3) are the optimized images (one, with a guided preset, the default; else one for each
        region), result (H, W, 3) is the picture, all in [0, 1] and at the size of the scale; `features.pixels`
        {style layer: (I, H', W', C)} and `features.result` {content layer: (H', W', C)} are their VGG features. It is
        compiled: what it reads from outside stays that of the first call; for another value give a new function.
      on_picture: on_picture(evaluation, picture) is called with the best picture so far, float32 (H, W, 3) in [0, 1].
      every: evaluations between these calls.
      stop: a threading.Event, or a function that returns True, which ends the optimization after the current
        evaluation.
      seed: of the random start (`init="noise"`), 0 to 2**32 - 1; None = 0, or that of the JSON given as `preset`.
      **overrides: fields of configs/photo.py, such as `style_weight=300.0`; `init` takes a picture, too.

    Returns:
      See `Result`.

    Raises:
      UserError: (a ValueError) an argument that cannot be used; says which, what was found and what to do.
      DivergenceError: (a UserError) the loss was not finite from the first evaluation on.
    """
    started = time.perf_counter()
    with in_callers_words():
        chosen = read_preset(preset)
        seed = positive_integer(chosen.seed if seed is None else seed, "seed", 0, MAX_SEED)
        listener, stopped = picture_listener(on_picture, every), stop_event(stop)
        if extra_loss is not None:
            check_callable(extra_loss, "extra_loss", "pixels, result, features")
        segmenter, overrides = _taken_out(overrides, "segmenter", Segmenter | OwnSegmenter)
        start, overrides = _start(overrides)
        taken = take_picture(photo, "photo")
        config = _config(chosen, taken, {"blend_ratio": blend, "size": size, "steps": steps}, overrides)
        if start is None and config.init not in STARTS:
            start = take_picture(config.init, "init")
        regions = check_styles(styles)
        masked = isinstance(masks, Mapping) and all_masked(regions, masks)
        check_inert(Run.PHOTO, overrides, config, masked=masked, kept=kept_regions(regions))
        options = _with_transform(build_options(config), transform, overrides)
        paintings = take_styles(styles)
        check_kept({name: "" if mix else KEEP for name, mix in paintings.items()}, guided=options.guided)
        check_color_regions(options.keep_colours, paintings)
        with products_at(config.precision):
            inputs = photo_inputs(options, taken, paintings, masks, points, start=start, segmenter=segmenter)
            vgg, _ = load_loss_network(options.network)
            made = optimization.stylize(
                options,
                vgg,
                inputs,
                [options.weights()],
                seed=seed,
                extra_loss=extra_loss,
                listener=listener,
                programs=_PROGRAMS,
                stop=stopped,
            )
    return _result(inputs, made, started)


def _config(preset: Preset, photo: Picture, named: Mapping[str, Any], overrides: Mapping[str, Any]) -> ConfigDict:
    """The config of a call; `named` are the arguments that are fields under a name of their own, None = not given."""
    blend = named["blend_ratio"]
    recorded = recorded_blend(preset, blend, overrides, video=False)
    if blend is not None:
        check_number("blend", blend)
    given = {name: value for name, value in named.items() if value is not None}
    if recorded is not None:
        given["blend_ratio"] = recorded.ratios[0]
    config = build_config(preset, {**given, **overrides}, "stylize")
    check_blend(config, config.blend_ratio)
    if not preset.recorded:  # that of a run is what it was
        given_size = None if named["size"] is None else config.size
        config.size = chosen_size(given_size, config.size, photo.size)
    return config


def _start(overrides: Mapping[str, Any]) -> tuple[Picture | None, dict[str, Any]]:
    """The picture that `init` is, if it is one, and the overrides without it."""
    if "init" not in overrides or (isinstance(overrides["init"], str) and overrides["init"] in STARTS):
        return None, dict(overrides)
    return take_picture(overrides["init"], "init"), {**overrides, "init": STARTS[0]}


def _taken_out(overrides: Mapping[str, Any], name: str, kind: type | UnionType) -> tuple[Any, dict[str, Any]]:
    """An override that is an object of a kind and no value of a config, and the overrides without it; None = none."""
    found = isinstance(overrides.get(name), kind)
    return (overrides[name], {**overrides, name: ""}) if found else (None, dict(overrides))


def _with_transform(
    options: StylizationOptions, transform: optax.GradientTransformation | None, overrides: Mapping[str, Any]
) -> StylizationOptions:
    if transform is None:
        return options
    if not isinstance(transform, optax.GradientTransformation):
        hint = "such as optax.adam(schedule)" if callable(transform) else "such as optax.adam(0.02)"
        raise UserError(f"transform is of the type {type(transform).__name__}; give an optax transformation, {hint}")
    for name in OPTIMIZER_FIELDS:
        if name in overrides:
            raise UserError(f"transform takes the place of the optimizer, so that {name} has no effect; leave one out")
    return replace(options, optimizer=transform)


def _result(inputs: PhotoInputs, made: optimization.StylizationResult, started: float) -> Result:
    finite, improved = bool(made.finite[0]), bool(made.improved[0])
    losses = made.losses[0]
    if not np.isfinite(losses["total"][0]):
        bad = [name for name, values in losses.items() if not np.isfinite(values[0]) and name != "total"]
        raise DivergenceError(f"the loss is not finite at the first evaluation ({', '.join(bad)}); check these terms")
    if not finite:
        logging.warning("the loss was not finite in the end: the picture is the best one before")
    return Result(
        picture=np.asarray(made.images[0], np.float32),
        masks=masks_by_name(inputs),
        losses=losses,
        seconds={
            "compile": made.compile_seconds,
            "optimize": made.optimize_seconds,
            "total": time.perf_counter() - started,
        },
        evaluations=sum(made.evaluations),
        improved=improved,
        finite=finite,
        interrupted=made.interrupted,
    )
