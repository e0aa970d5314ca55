"""From a config (configs/photo.py, configs/fast.py) to the typed options that everything below takes."""

from pathlib import Path

from ml_collections import ConfigDict

from msst_jax.losses.objective import FeatureLayers
from msst_jax.models.precision import PRECISIONS
from msst_jax.optim.optimizer import OptimizerOptions
from msst_jax.presets.lookup import load_preset
from msst_jax.presets.validation import STARTS, check_fields, parse_tiles
from msst_jax.regions.masks import MaskOptions
from msst_jax.transfer.options import (
    InputOptions,
    NetworkOptions,
    ScaleSchedule,
    StylizationOptions,
    TemporalOptions,
)
from msst_jax.transfer.scale_split import split_evaluations


def build_options(config: ConfigDict) -> StylizationOptions:
    """The options of a stylization; `config` has the fields of configs/photo.py.

    Raises:
      UserError: a field is missing, or of another type.
    """
    check_fields(config, load_preset("photo").get_config())
    return StylizationOptions(
        inputs=build_input_options(config),
        network=NetworkOptions(
            name=config.network,
            layers=build_layers(config),
            pooling=config.pooling,
            padding=config.padding,
            dtype=PRECISIONS[config.precision].dtype,
            weights=Path(config.weights) if config.weights else None,
        ),
        guided=config.guided,
        style_weight=config.style_weight,
        blend_ratio=config.blend_ratio,
        content_weight=config.content_weight,
        tv_weight=config.tv_weight,
        tv_per_pixel=config.tv_per_pixel,
        schedule=build_schedule(config),
        optimizer=OptimizerOptions(
            name=config.optimizer,
            learning_rate=config.learning_rate,
            history=config.history,
            history_dtype=config.history_dtype,
            max_step=config.max_step,
            precondition=config.precondition,
        ),
        init=config.init if config.init in STARTS else "content",
        keep_colours=tuple(config.keep_colours),
        keep=config.keep,
        remat=config.remat,
        tiles=parse_tiles(config.tiles),
        devices=config.devices,
        temporal=TemporalOptions(
            segment_every=config.segment_every,
            mask_smoothing=config.mask_smoothing,
            picture_smoothing=config.picture_smoothing,
            next_steps=config.next_steps,
        ),
    )


def build_input_options(config: ConfigDict) -> InputOptions:
    """How the files of a photo are read; fields of configs/photo.py."""
    return InputOptions(
        size=config.size,
        square=config.square,
        style_scale=config.style_scale,
        stroke_size=config.stroke_size,
        segmenter=config.segmenter,
        masks=MaskOptions(
            hard=config.hard_masks,
            feather=config.feather,
            min_speck=config.min_speck,
            refine_edges=config.refine_edges,
        ),
        start="" if config.init in STARTS else config.init,
    )


def build_layers(config: ConfigDict) -> FeatureLayers:
    """The layers and factors that a config names; empty factors stand for 1."""
    return FeatureLayers(
        tuple(config.style_layers),
        tuple(config.content_layers),
        tuple(config.style_layer_weights) or (1.0,) * len(config.style_layers),
        tuple(config.content_layer_weights) or (1.0,) * len(config.content_layers),
    )


def build_schedule(config: ConfigDict) -> ScaleSchedule:
    """The evaluations at each scale; they add up to `config.steps`, or to the next `steps_multiple` above it."""
    total = config.steps
    if config.steps_multiple:
        total = (config.steps // config.steps_multiple + 1) * config.steps_multiple
    evaluations = split_evaluations(total, len(config.scales), tuple(config.scale_steps))
    return ScaleSchedule(tuple(config.scales), evaluations)
